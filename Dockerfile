# Builds a small image that holds the hub alone. Run it with a volume for the
# database and a key for secrets at rest:
#
#   docker build -t hookgraph .
#   docker run -p 8080:8080 -v hookgraph:/data -e HOOKGRAPH_SECRET_KEY="$(openssl rand -base64 32)" hookgraph
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=1 go build -trimpath -ldflags="-s -w -linkmode external -extldflags '-static'" -tags "osusergo netgo sqlite_omit_load_extension" -o /hookgraph .
RUN mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /hookgraph /hookgraph
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/hookgraph"]
CMD ["serve"]

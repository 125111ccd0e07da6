#!/bin/sh
# Fetches what the explorer is made of from the npm registry, makes it small and
# puts it under assets/, so that neither building nor using Hookgraph needs more
# than this folder. Run it to change a version; the result is committed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in graphiql@3.8.3 react@18.3.1 react-dom@18.3.1; do
	npm pack --silent "$package" >/dev/null
done
for archive in *.tgz; do
	mkdir "${archive%.tgz}"
	tar -xzf "$archive" -C "${archive%.tgz}" --strip-components=1
done
npm install --silent --no-audit --no-fund --prefix tools esbuild@0.25.0
esbuild=tools/node_modules/.bin/esbuild
"$esbuild" graphiql-3.8.3/graphiql.min.js --minify --legal-comments=inline --outfile=graphiql.js --log-level=error
"$esbuild" graphiql-3.8.3/graphiql.min.css --minify --legal-comments=inline --outfile=graphiql.css --log-level=error
cp react-18.3.1/umd/react.production.min.js react.js
cp react-dom-18.3.1/umd/react-dom.production.min.js react-dom.js
for file in graphiql.js graphiql.css react.js react-dom.js; do
	gzip -9 -n -c "$file" >"$here/assets/$file.gz"
done
cp graphiql-3.8.3/LICENSE "$here/licenses/graphiql.txt"
cp react-18.3.1/LICENSE "$here/licenses/react.txt"

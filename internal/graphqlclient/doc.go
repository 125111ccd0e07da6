// Package graphqlclient follows GraphQL subscriptions of servers: over WebSocket with
// graphql-transport-ws, over HTTP with Server-Sent Events in distinct connections. It
// hands over what comes as it was written, and says for people why a stream ended. When
// to connect again, and where to go on, is for those who use it.
package graphqlclient

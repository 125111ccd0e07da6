// Trusted documents on a hub that accepts nothing else, asked for as @apollo/client,
// urql, graphql-ws and graphql-sse can. The hub has read the folder trusted.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { Client, createRequest, fetchExchange } from '@urql/core';
import { print } from 'graphql';
import { createClient as createStream } from 'graphql-sse';
import { createClient as createSocket } from 'graphql-ws';
import WebSocket from 'ws';
import { bearer, graphql, socket } from './hub.js';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

async function post(members) {
  const answer = await fetch(graphql, {
    method: 'POST',
    headers: { ...bearer(), 'content-type': 'application/json' },
    body: JSON.stringify(members),
  });
  return answer.json();
}

/** Registers a document, by the hub's own one, and returns its hash. */
async function register(document, name) {
  const { data, errors } = await post({ documentId: 'hookgraph.RegisterDocument', variables: { input: { name, document } } });
  assert.equal(errors, undefined, JSON.stringify(errors));
  assert.deepEqual(data.registerDocument.userErrors, []);
  return data.registerDocument.document.hash;
}

function apollo(t) {
  const cache = new InMemoryCache();
  const client = new ApolloClient({
    link: ApolloLink.from([new PersistedQueryLink({ sha256 }), new HttpLink({ uri: graphql, headers: bearer() })]),
    cache,
  });
  t.after(() => client.stop());
  return client;
}

test('Apollo gets what is registered, and nothing else', async (t) => {
  const query = gql`query Scopes { viewer { scopes } }`;
  await assert.rejects(apollo(t).query({ query }), (failure) => {
    assert.ok(CombinedGraphQLErrors.is(failure), String(failure));
    assert.equal(failure.errors[0].extensions.code, 'OPERATION_NOT_ALLOWED');
    return true;
  });
  const client = apollo(t);
  const text = print(client.cache.transformDocument(query)); // with the __typename that Apollo adds
  assert.equal(await register(text), `sha256:${sha256(text)}`);
  const { data } = await client.query({ query });
  assert.ok(data.viewer.scopes.includes('ADMIN'));
});

test('urql asks by documentId', async () => {
  const client = new Client({ url: graphql, exchanges: [fetchExchange], fetchOptions: { headers: bearer() }, preferGetMethod: false });
  const document = createRequest('query Role { viewer { role } }', {}).query;
  document.documentId = 'Role';
  const { data, error } = await client.query(document, {});
  assert.equal(error, undefined, String(error));
  assert.equal(data.viewer.role, 'OPERATOR');
  const refused = await client.query('{ viewer { scopes role } }', {});
  assert.equal(refused.error.graphQLErrors[0].extensions.code, 'OPERATION_NOT_ALLOWED');
});

for (const [name, connect] of [
  ['graphql-ws', () => createSocket({ url: socket, webSocketImpl: WebSocket, connectionParams: bearer(), retryAttempts: 0 })],
  ['graphql-sse', () => createStream({ url: graphql, headers: bearer(), retryAttempts: 0 })],
]) {
  test(`${name} asks by documentId`, async (t) => {
    await register('subscription Watch { eventStream { cursor } }', 'watch');
    const client = connect();
    t.after(() => client.dispose());
    const first = (payload) => new Promise((resolve, reject) => {
      const end = client.subscribe(payload, {
        next: (step) => { resolve(step); end(); },
        error: reject,
        complete: () => {},
      });
    });
    // graphql-ws insists on a query; an empty one counts as none.
    const { data } = await first({ query: '', documentId: 'watch' });
    assert.ok(data.eventStream.cursor);
    await assert.rejects(first({ query: 'subscription { eventStream { events { id } } }' }), (failure) => {
      assert.match(JSON.stringify(failure.response?.status ?? failure), /400|OPERATION_NOT_ALLOWED/);
      return true;
    });
  });
}

// Automatic persisted queries, as the links of @apollo/client and urql send them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { Client, fetchExchange } from '@urql/core';
import { persistedExchange } from '@urql/exchange-persisted';
import { bearer, graphql } from './hub.js';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** A fetch that notes what is sent: the method, and whether there was a query. */
function noting(sent) {
  return (url, init) => {
    const query = init.method === 'GET' ? new URL(url).searchParams.get('query') : JSON.parse(init.body).query;
    sent.push(`${init.method} ${query ? 'query' : 'hash'}`);
    return fetch(url, init);
  };
}

function apollo(t, sent, options = {}) {
  const client = new ApolloClient({
    link: ApolloLink.from([
      new PersistedQueryLink({ sha256, ...options }),
      new HttpLink({ uri: graphql, headers: bearer(), fetch: noting(sent) }),
    ]),
    cache: new InMemoryCache(),
    defaultOptions: { query: { fetchPolicy: 'network-only' } },
  });
  t.after(() => client.stop());
  return client;
}

test('Apollo sends the query when its hash is unknown, and the hash from then on', async (t) => {
  const sent = [];
  const query = gql`query PersistedByApollo { viewer { role } }`;
  for (const client of [apollo(t, sent), apollo(t, sent)]) {
    const { data } = await client.query({ query });
    assert.equal(data.viewer.role, 'OPERATOR');
  }
  assert.deepEqual(sent, ['POST hash', 'POST query', 'POST hash']);
});

test('Apollo asks for hashes by GET', async (t) => {
  const sent = [];
  const query = gql`query PersistedByApolloAndGET { viewer { role } }`;
  for (const client of [apollo(t, sent, { useGETForHashedQueries: true }), apollo(t, sent, { useGETForHashedQueries: true })]) {
    const { data } = await client.query({ query });
    assert.equal(data.viewer.role, 'OPERATOR');
  }
  assert.deepEqual(sent, ['GET hash', 'POST query', 'GET hash']);
});

test('a hash that is not that of the query is refused', async (t) => {
  const client = apollo(t, [], { sha256: () => sha256('something else') });
  await assert.rejects(client.query({ query: gql`query Mismatched { viewer { role } }` }), (failure) => {
    assert.equal(failure.errors[0].extensions.code, 'BAD_USER_INPUT');
    return true;
  });
});

for (const preferGetForPersistedQueries of [false, 'force']) {
  test(`urql does the same, by ${preferGetForPersistedQueries ? 'GET' : 'POST'}`, async () => {
    const sent = [];
    const connect = () => new Client({
      url: graphql,
      exchanges: [persistedExchange({ preferGetForPersistedQueries, generateHash: async (text) => sha256(text) }), fetchExchange],
      fetchOptions: { headers: bearer() },
      fetch: noting(sent),
      preferGetMethod: false,
    });
    const query = `query PersistedByUrql${preferGetForPersistedQueries ? 'AndGET' : ''} { viewer { role } }`;
    for (const client of [connect(), connect()]) {
      const { data, error } = await client.query(query, {});
      assert.equal(error, undefined, String(error));
      assert.equal(data.viewer.role, 'OPERATOR');
    }
    const method = preferGetForPersistedQueries ? 'GET' : 'POST';
    assert.equal(sent.length, 3, sent);
    assert.equal(sent[0], `${method} hash`);
    assert.match(sent[1], /query$/);
    assert.equal(sent[2], `${method} hash`);
  });
}

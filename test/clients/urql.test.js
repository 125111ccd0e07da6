// urql: POST for queries and mutations, server-sent events by fetch for streams,
// and its normalised cache, which knows the schema.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';
import { getIntrospectionQuery } from 'graphql';
import { bearer, delivered, firstEvent, graphql, operations, operatorKey, publish, Reader, readerKey, schemaKey } from './hub.js';

const operation = await operations();

// The cache is told the schema, and then complains of whatever does not fit it.
const introspection = await fetch(graphql, {
  method: 'POST',
  headers: { ...bearer(schemaKey), 'content-type': 'application/json' },
  body: JSON.stringify({ query: getIntrospectionQuery() }),
});
const { data: schema } = await introspection.json();

function connect(t, key = operatorKey, options = {}) {
  const complaints = [];
  t.after(() => assert.deepEqual(complaints, []));
  return new Client({
    url: graphql,
    exchanges: [
      cacheExchange({
        schema,
        logger: (severity, message) => severity === 'debug' || complaints.push(message),
        keys: { Viewer: () => null }, // there is one, and it has no ID
        resolvers: { Query: { events: relayPagination() } },
      }),
      fetchExchange,
    ],
    fetchOptions: { headers: bearer(key) },
    fetchSubscriptions: true,
    preferGetMethod: false,
    ...options,
  });
}

test('the first event, and a cache that knows its endpoint', async (t) => {
  const client = connect(t);
  const first = await firstEvent(async (text, variables) => {
    const { data, error } = text.startsWith('mutation')
      ? await client.mutation(text, variables)
      : await client.query(text, variables);
    assert.equal(error, undefined, String(error));
    return data;
  });
  t.after(first.close);
  const { id } = await first.send('{"type": "order.created", "id": 1, "total": 42}');
  await delivered(id);

  const { data, error } = await client.query(operation.Deliveries, { first: 1 });
  assert.equal(error, undefined, String(error));
  const [delivery] = data.deliveries.nodes;
  assert.equal(delivery.status, 'DELIVERED');
  assert.deepEqual([delivery.event.id, delivery.event.total, delivery.endpoint.name], [id, 42, 'Receiver']);
  assert.equal(delivery.attempts.nodes[0].statusCode, 204);

  await client.mutation(operation.RenameEndpoint, { id: first.endpoint.id, name: 'Renamed' });
  const cached = client.readQuery(operation.Deliveries, { first: 1 });
  assert.equal(cached.data.deliveries.nodes[0].endpoint.name, 'Renamed');

  const node = await client.query(operation.EventByNode, { id });
  assert.equal(node.data.node.type, 'order.created');
});

test('queries go by GET where the client prefers it', async (t) => {
  const methods = [];
  const client = connect(t, operatorKey, {
    preferGetMethod: 'force',
    fetch: (url, init) => {
      methods.push(init.method);
      return fetch(url, init);
    },
  });
  const { data } = await client.query(operation.Viewer, {});
  assert.equal(data.viewer.role, 'OPERATOR');
  assert.deepEqual(methods, ['GET']);
});

test('pages are joined in the cache', async (t) => {
  const client = connect(t);
  const sent = await publish(25, 'page.two');
  const filter = { types: ['page.two'] };
  let after = null;
  let joined;
  do {
    const { data, error } = await client.query(operation.Events, { first: 10, filter, after });
    assert.equal(error, undefined, String(error));
    joined = data.events;
    after = joined.pageInfo.endCursor;
  } while (joined.pageInfo.hasNextPage);
  assert.deepEqual(joined.edges.map(({ node }) => node.sequence), sent.reverse());
});

test('extensions.code is visible, and partial answers stand', async (t) => {
  const client = connect(t, readerKey);
  await publish(1);
  const partial = await client.query(operation.Payloads, {});
  assert.equal(partial.error.graphQLErrors[0].extensions.code, 'FORBIDDEN');
  assert.ok(partial.data.events.nodes[0].id);
  const refused = await client.mutation(operation.RenameEndpoint, { id: 'end_x', name: 'x' });
  assert.equal(refused.error.graphQLErrors[0].extensions.code, 'FORBIDDEN');
  const unknown = await connect(t, 'wrong').query(operation.Viewer, {});
  assert.equal(unknown.error.response.status, 401);
  assert.equal(unknown.error.graphQLErrors[0].extensions.code, 'UNAUTHENTICATED');
});

test('eventStream is live over server-sent events', async (t) => {
  const client = connect(t);
  const reader = new Reader('LATEST');
  const subscription = await new Promise((resolve, reject) => {
    const running = client.subscription(operation.EventStream, { from: 'LATEST', batchSize: 7 }).subscribe(({ data, error }) => {
      if (error) return reject(error);
      reader.step(data.eventStream);
      resolve(running);
    });
  });
  const sent = await publish(20);
  assert.deepEqual(await reader.count(20), sent);
  subscription.unsubscribe();
});

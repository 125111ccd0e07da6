// @apollo/client: HTTP for queries and mutations, graphql-ws for streams, and its
// normalised cache.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { createClient } from 'graphql-ws';
import { OperationTypeNode } from 'graphql';
import WebSocket from 'ws';
import { bearer, Collector, delivered, firstEvent, graphql, operations, operatorKey, publish, Reader, readerKey, socket } from './hub.js';

const operation = Object.fromEntries(Object.entries(await operations()).map(([name, text]) => [name, gql(text)]));

function connect(t, key = operatorKey) {
  const streams = createClient({ url: socket, webSocketImpl: WebSocket, connectionParams: bearer(key) });
  const client = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(streams),
      new HttpLink({ uri: graphql, headers: bearer(key) }),
    ),
    cache: new InMemoryCache({
      possibleTypes: { Node: ['Event', 'Source', 'Endpoint', 'EventSubscription', 'Delivery', 'Attempt', 'Rejection'] },
      typePolicies: { Query: { fields: { events: relayStylePagination(['filter']) } } },
    }),
  });
  t.after(async () => {
    client.stop();
    await streams.dispose();
  });
  return client;
}

test('the first event, and a cache that knows its endpoint', async (t) => {
  const client = connect(t);
  const first = await firstEvent(async (text, variables) => {
    const document = gql(text);
    const mutation = document.definitions[0].operation === OperationTypeNode.MUTATION;
    const { data } = mutation
      ? await client.mutate({ mutation: document, variables })
      : await client.query({ query: document, variables });
    return data;
  });
  t.after(first.close);
  const { id } = await first.send('{"type": "order.created", "id": 1, "total": 42}');
  await delivered(id);

  const variables = { first: 1 };
  const { data } = await client.query({ query: operation.Deliveries, variables });
  const [delivery] = data.deliveries.nodes;
  assert.equal(delivery.status, 'DELIVERED');
  assert.deepEqual([delivery.event.id, delivery.event.total, delivery.endpoint.name], [id, 42, 'Receiver']);
  assert.equal(delivery.attempts.nodes[0].statusCode, 204);

  // A mutation's answer changes the list that is in the cache already.
  await client.mutate({ mutation: operation.RenameEndpoint, variables: { id: first.endpoint.id, name: 'Renamed' } });
  const cached = client.readQuery({ query: operation.Deliveries, variables });
  assert.equal(cached.deliveries.nodes[0].endpoint.name, 'Renamed');

  const node = await client.query({ query: operation.EventByNode, variables: { id } });
  assert.equal(node.data.node.type, 'order.created');
  assert.ok(client.cache.extract()[`Event:${id}`], 'events are kept by type and ID');
});

test('pages are joined in the cache', async (t) => {
  const client = connect(t);
  const sent = await publish(25, 'page.one');
  const query = client.watchQuery({ query: operation.Events, variables: { first: 10, filter: { types: ['page.one'] } } });
  const shown = new Collector();
  const watching = query.subscribe(({ data, loading }) => loading || shown.add(data));
  let [data] = await shown.count(1);
  while (data.events.pageInfo.hasNextPage) {
    const before = data.events.edges.length;
    await query.fetchMore({ variables: { after: data.events.pageInfo.endCursor } });
    data = (await shown.until((all) => all.at(-1).events.edges.length > before)).at(-1);
  }
  watching.unsubscribe();
  assert.deepEqual(data.events.edges.map(({ node }) => node.sequence), sent.reverse());
});

test('extensions.code is visible, and partial answers stand', async (t) => {
  const client = connect(t, readerKey);
  await publish(1);
  const partial = await client.query({ query: operation.Payloads, errorPolicy: 'all' });
  assert.ok(CombinedGraphQLErrors.is(partial.error));
  assert.equal(partial.error.errors[0].extensions.code, 'FORBIDDEN');
  assert.ok(partial.data.events.nodes[0].id);
  await assert.rejects(client.query({ query: gql`query { nothing }` }), (error) => {
    assert.ok(CombinedGraphQLErrors.is(error), String(error));
    return error.errors[0].extensions.code === 'GRAPHQL_VALIDATION_FAILED';
  });
  await assert.rejects(
    client.mutate({ mutation: operation.RenameEndpoint, variables: { id: 'end_x', name: 'x' } }),
    (error) => error.errors[0].extensions.code === 'FORBIDDEN',
  );
  await assert.rejects(connect(t, 'wrong').query({ query: operation.Viewer }), (error) => {
    assert.ok(CombinedGraphQLErrors.is(error), String(error));
    return error.errors[0].extensions.code === 'UNAUTHENTICATED';
  });
});

test('eventStream is live over GraphQLWsLink', async (t) => {
  const client = connect(t);
  const reader = new Reader('LATEST');
  const subscription = await new Promise((resolve, reject) => {
    const running = client.subscribe({ query: operation.EventStream, variables: { from: 'LATEST', batchSize: 7 } }).subscribe({
      next({ data, error }) {
        if (error) return reject(error);
        reader.step(data.eventStream);
        resolve(running);
      },
      error: reject,
    });
  });
  const sent = await publish(20);
  assert.deepEqual(await reader.count(20), sent);
  subscription.unsubscribe();
});

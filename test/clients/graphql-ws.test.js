// graphql-transport-ws: the reference client, as its README sets it up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { bearer, operations, operatorKey, publish, Reader, readerKey, restart, socket } from './hub.js';

const operation = await operations();

function connect(t, { key = operatorKey, on, ...options } = {}) {
  const client = createClient({ url: socket, webSocketImpl: WebSocket, connectionParams: bearer(key), on, ...options });
  t.after(() => client.dispose());
  return client;
}

async function one(client, query, variables) {
  for await (const result of client.iterate({ query, variables })) return result;
  throw new Error('it was completed without an answer');
}

test('a query and a mutation are answered once and completed', async (t) => {
  const client = connect(t);
  const answers = [];
  for await (const result of client.iterate({ query: operation.Viewer })) answers.push(result.data.viewer.role);
  assert.deepEqual(answers, ['OPERATOR']);
  const { data } = await one(
    client,
    'mutation { publishEvent(input: {type: "over.socket", payload: {a: 1}}) { event { type } duplicate userErrors { message } } }',
  );
  assert.deepEqual(data.publishEvent, { event: { type: 'over.socket' }, duplicate: false, userErrors: [] });
});

test('what is wrong carries its code', async (t) => {
  const client = connect(t, { key: readerKey });
  await publish(1);
  const partial = await one(client, operation.Payloads);
  assert.equal(partial.errors[0].extensions.code, 'FORBIDDEN');
  assert.equal(partial.data.events.nodes[0].payload, null);
  assert.ok(partial.data.events.nodes[0].id);
  await assert.rejects(one(client, '{ nothing }'), (errors) => errors[0].extensions.code === 'GRAPHQL_VALIDATION_FAILED');
  await assert.rejects(one(client, '{ viewer { '), (errors) => errors[0].extensions.code === 'GRAPHQL_PARSE_FAILED');
  await assert.rejects(
    one(client, operation.EventStream, { after: 'nonsense' }),
    (errors) => errors[0].extensions.code === 'BAD_USER_INPUT',
  );
});

test('a wrong key is refused', async (t) => {
  // By default the client tries again five times: access might be granted meanwhile.
  const client = connect(t, { key: 'wrong', shouldRetry: (event) => event.code !== 4403 });
  await assert.rejects(one(client, operation.Viewer), (event) => event.code === 4403);
});

test('streams run side by side and stop when they are told to', async (t) => {
  const client = connect(t);
  const readers = [new Reader('LATEST'), new Reader('LATEST')];
  const stops = await Promise.all(
    readers.map(
      (reader) =>
        new Promise((resolve, reject) => {
          const stop = client.subscribe(
            { query: operation.EventStream, variables: reader.variables },
            {
              next({ data }) {
                reader.step(data.eventStream);
                resolve(stop); // the first step says that the stream is live
              },
              error: reject,
              complete() {},
            },
          );
        }),
    ),
  );
  const first = await publish(3);
  assert.deepEqual(await readers[0].count(3), first);
  assert.deepEqual(await readers[1].count(3), first);
  stops[0]();
  const second = await publish(3);
  assert.deepEqual(await readers[1].count(6), [...first, ...second]);
  assert.deepEqual(await readers[0].count(3), first);
});

test('over restarts the client comes back by itself and sees every event once', async (t) => {
  const closed = [];
  const client = connect(t, { on: { closed: (event) => closed.push(event.code) } });
  const reader = new Reader('LATEST');
  let live;
  const started = new Promise((resolve) => (live = resolve));
  client.subscribe(
    { query: operation.EventStream, variables: reader.variables },
    {
      next({ data }) {
        reader.step(data.eventStream);
        live();
      },
      error: (error) => reader.fail(error),
      complete: () => reader.fail(new Error('the stream was completed')),
    },
  );
  await started;
  const sent = await publish(40);
  await reader.count(10);
  sent.push(...(await publish(40))); // some of it is on its way when the hub stops
  await restart();
  sent.push(...(await publish(20))); // before the client is back
  assert.deepEqual(await reader.count(100), sent);
  await restart();
  sent.push(...(await publish(20)));
  assert.deepEqual(await reader.count(120), sent);
  assert.deepEqual(closed.filter((code) => code === 1012), [1012, 1012]);
});

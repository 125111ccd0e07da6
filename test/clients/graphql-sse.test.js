// GraphQL over SSE: the reference client in distinct connections mode.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from 'graphql-sse';
import { bearer, graphql, operations, operatorKey, publish, Reader, readerKey, restart } from './hub.js';

const operation = await operations();

function connect(t, key = operatorKey, options = {}) {
  const client = createClient({ url: graphql, headers: bearer(key), ...options });
  t.after(() => client.dispose());
  return client;
}

/** Follows eventStream; live resolves with the function that stops it. */
function follow(client, reader) {
  return new Promise((resolve) => {
    const stop = client.subscribe(
      { query: operation.EventStream, variables: reader.variables },
      {
        next({ data }) {
          reader.step(data.eventStream);
          resolve(stop);
        },
        error: (error) => reader.fail(error),
        complete: () => reader.fail(new Error('the stream was completed')),
      },
    );
  });
}

test('a query and a mutation are answered once and completed', async (t) => {
  const client = connect(t);
  const answers = [];
  for await (const { data } of client.iterate({ query: operation.Viewer })) answers.push(data.viewer.role);
  for await (const { data } of client.iterate({
    query: 'mutation { publishEvent(input: {type: "over.sse", payload: 1}) { event { type } userErrors { message } } }',
  })) answers.push(data.publishEvent.event.type);
  assert.deepEqual(answers, ['OPERATOR', 'over.sse']);
});

test('what is wrong carries its code', async (t) => {
  const client = connect(t, readerKey);
  await publish(1);
  for await (const { data, errors } of client.iterate({ query: operation.Payloads })) {
    assert.equal(errors[0].extensions.code, 'FORBIDDEN');
    assert.ok(data.events.nodes[0].id);
  }
  for await (const { errors } of client.iterate({ query: operation.EventStream, variables: { after: 'nonsense' } })) {
    assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT');
  }
  await assert.rejects(
    (async () => {
      for await (const _ of connect(t, 'wrong', { retryAttempts: 0 }).iterate({ query: operation.Viewer }));
    })(),
    (error) => error.response.status === 401,
  );
});

test('a live stream runs until it is stopped', async (t) => {
  const client = connect(t);
  const [one, other] = [new Reader('LATEST'), new Reader('LATEST')];
  const stop = await follow(client, one);
  await follow(client, other);
  const first = await publish(10);
  assert.deepEqual(await one.count(10), first);
  stop();
  const second = await publish(3);
  assert.deepEqual(await other.count(13), [...first, ...second]);
  await assert.rejects(one.count(11), /completed/); // the client's own word for stopped
  assert.deepEqual(await one.count(10), first);
});

test('over a restart the client comes back by itself and sees every event once', async (t) => {
  const client = connect(t);
  const reader = new Reader('LATEST');
  await follow(client, reader);
  const sent = await publish(40);
  await reader.count(10);
  sent.push(...(await publish(40)));
  await restart();
  sent.push(...(await publish(20)));
  assert.deepEqual(await reader.count(100), sent);
});

// The hub under test, as the environment names it, and what tests need besides the
// client that they are about.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by go test ./internal/app -run TestClients`);
  return value;
}

export const hub = setting('HUB_URL');
export const graphql = `${hub}/graphql`;
export const socket = `${graphql.replace(/^http/, 'ws')}`;
export const operatorKey = setting('HUB_KEY'); // may do everything but introspect
export const readerKey = setting('HUB_READER_KEY'); // sees events without their payloads
export const schemaKey = setting('HUB_SCHEMA_KEY'); // a reader that may introspect

export const bearer = (key = operatorKey) => ({ authorization: `Bearer ${key}` });

/** Stops the hub and starts it again on the same database and address. */
export async function restart() {
  const answer = await fetch(setting('HUB_CONTROL_URL'), { method: 'POST' });
  assert.equal(answer.status, 204, await answer.text());
}

/** Asks by plain fetch, without any client. */
export async function ask(query, variables) {
  const answer = await fetch(graphql, {
    method: 'POST',
    headers: { ...bearer(), 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

let published = 0;

/** Publishes events of a type and returns their sequences in order. */
export async function publish(count, type = 'order.created') {
  const input = Array.from({ length: count }, () => ({ type, payload: { n: published++ } }));
  const { publishEvents } = await ask(
    'mutation ($input: [PublishEventInput!]!) { publishEvents(input: $input) { event { sequence } userErrors { message } } }',
    { input },
  );
  return publishEvents.map((one) => {
    assert.deepEqual(one.userErrors, []);
    return one.event.sequence;
  });
}

/** The operations that a dashboard asks, by name. */
export async function operations() {
  const text = await readFile(new URL('operations.graphql', import.meta.url), 'utf8');
  return Object.fromEntries(
    text
      .split(/^(?=query|mutation|subscription)/m)
      .filter((one) => /^(query|mutation|subscription)/.test(one))
      .map((one) => [one.match(/^\w+ (\w+)/)[1], one]),
  );
}

/** Collects what a stream hands over and lets a test wait for it. */
export class Collector {
  #items = [];
  #waiting = [];
  #failure = undefined;

  add(item) {
    this.#items.push(item);
    this.#wake();
  }

  fail(error) {
    this.#failure = error;
    this.#wake();
  }

  /** Resolves with all items once the condition holds for them, which must not take long. */
  async until(condition) {
    const limit = setTimeout(() => this.fail(new Error(`still waiting, with ${this.#items.length} items: ${this.#items}`)), 60_000);
    try {
      for (;;) {
        if (condition(this.#items)) return [...this.#items];
        if (this.#failure) throw this.#failure;
        await new Promise((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      clearTimeout(limit);
    }
  }

  /** Resolves with all items once there are so many. */
  count(n) {
    return this.until((items) => items.length >= n);
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * What a client that keeps its place does with the steps of eventStream. Its
 * variables are read each time the client subscribes, so that it goes on behind
 * the last step it has seen.
 */
export class Reader extends Collector {
  cursor = undefined;
  variables;

  constructor(from = 'EARLIEST') {
    super();
    const reader = this;
    this.variables = {
      from,
      batchSize: 7,
      get after() {
        return reader.cursor;
      },
    };
  }

  step({ cursor, events }) {
    this.cursor = cursor;
    for (const event of events) this.add(event.sequence);
  }
}

/**
 * The steps of the first event, which `hookgraph dev` prints, done with any client:
 * execute(operation, variables) returns the data of one operation.
 */
export async function firstEvent(execute) {
  const { CreateSource, CreateEndpoint, CreateSubscription } = await operations();
  const name = `shop-${process.pid}-${published++}`;
  const received = new Collector();
  const receiver = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      received.add({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(204).end();
    });
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const { createSource } = await execute(CreateSource, {
    input: { name, slug: name, secrets: ['first-secret'], verification: { apiKey: {} } },
  });
  assert.deepEqual(createSource.userErrors, []);
  const { createEndpoint } = await execute(CreateEndpoint, {
    input: { name: 'Receiver', url: `http://127.0.0.1:${receiver.address().port}/hooks` },
  });
  assert.deepEqual(createEndpoint.userErrors, []);
  const { createSubscription } = await execute(CreateSubscription, {
    input: {
      name: 'Large orders',
      endpointId: createEndpoint.endpoint.id,
      sourceIds: [createSource.source.id],
      eventTypes: ['order.*'],
      filter: 'body.total > 10',
    },
  });
  assert.deepEqual(createSubscription.userErrors, []);
  const send = async (body) => {
    const answer = await fetch(createSource.source.url, {
      method: 'POST',
      headers: { 'x-api-key': 'first-secret', 'content-type': 'application/json' },
      body,
    });
    assert.equal(answer.status, 200);
    return answer.json();
  };
  return {
    source: createSource.source,
    endpoint: createEndpoint.endpoint,
    signingSecret: createEndpoint.signingSecret,
    received,
    send,
    close: () => receiver.close(),
  };
}

/** Asks until the delivery of an event has ended, and returns what was asked last. */
export async function delivered(eventId) {
  for (;;) {
    const { event } = await ask('query ($id: ID!) { event(id: $id) { deliveries { nodes { id status } } } }', { id: eventId });
    const [delivery] = event.deliveries.nodes;
    if (delivery?.status === 'DELIVERED') return delivery;
    assert.equal(delivery?.status ?? 'PENDING', 'PENDING');
  }
}

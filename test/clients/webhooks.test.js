// Deliveries: the official libraries of Standard Webhooks and Svix verify what an
// endpoint's owner gets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { ask, firstEvent } from './hub.js';

test('a delivery verifies, and a changed one does not', async (t) => {
  const first = await firstEvent(ask);
  t.after(first.close);
  const body = '{"type": "order.created", "total": 42, "name": "Zoë \\u2603"}';
  await first.send(body);
  const [{ headers, body: arrived }] = await first.received.count(1);
  assert.equal(arrived, body);
  for (const Webhook of [StandardWebhook, SvixWebhook]) {
    const webhook = new Webhook(first.signingSecret);
    assert.equal(webhook.verify(arrived, headers).total, 42);
    assert.throws(() => webhook.verify(arrived.replace('42', '43'), headers));
    assert.throws(() => webhook.verify(arrived, { ...headers, 'webhook-id': 'another' }));
  }
});

test('while a secret is rotated, the old one and the new one both verify', async (t) => {
  const first = await firstEvent(ask);
  t.after(first.close);
  const { rotateEndpointSecret } = await ask(
    'mutation ($id: ID!) { rotateEndpointSecret(id: $id, overlap: "PT1H") { signingSecret userErrors { message } } }',
    { id: first.endpoint.id },
  );
  assert.deepEqual(rotateEndpointSecret.userErrors, []);
  assert.notEqual(rotateEndpointSecret.signingSecret, first.signingSecret);
  await first.send('{"type": "order.created", "total": 42}');
  const [{ headers, body }] = await first.received.count(1);
  for (const secret of [first.signingSecret, rotateEndpointSecret.signingSecret]) {
    for (const Webhook of [StandardWebhook, SvixWebhook]) new Webhook(secret).verify(body, headers);
  }
});

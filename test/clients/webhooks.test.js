// Deliveries: the official libraries of Standard Webhooks and Svix verify what an
// endpoint's owner gets.
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
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

/** Verifies v1a as its specification says, by the public key alone. */
function verifyAsymmetric(publicKey, headers, body) {
  const raw = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' });
  const content = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  return headers['webhook-signature']
    .split(' ')
    .map((item) => item.split(','))
    .some(([version, text]) => version === 'v1a' && verify(null, content, key, Buffer.from(text, 'base64')));
}

test('Ed25519: the public key verifies, both do during a rotation, and v1 goes on for a while', async (t) => {
  const first = await firstEvent(ask);
  t.after(first.close);
  const endpoint = async (mutation, variables) => {
    const { done } = await ask(
      `mutation ($id: ID!) { done: ${mutation} { signingSecret endpoint { publicKey signingSecrets { publicKey expiresAt } } userErrors { message } } }`,
      { id: first.endpoint.id, ...variables },
    );
    assert.deepEqual(done.userErrors, []);
    assert.equal(done.signingSecret, null, 'a private key is shown');
    return done.endpoint;
  };
  const { publicKey } = await endpoint('updateEndpoint(input: {id: $id, signing: STANDARD_V1A})');
  assert.match(publicKey, /^whpk_/);
  const rotated = await endpoint('rotateEndpointSecret(id: $id, overlap: "PT1H")');
  assert.notEqual(rotated.publicKey, publicKey);
  assert.deepEqual(rotated.signingSecrets.map((one) => one.publicKey), [rotated.publicKey, publicKey, null]);

  await first.send('{"type": "order.created", "name": "Zoë", "total": 42}');
  const [{ headers, body }] = await first.received.count(1);
  for (const key of [publicKey, rotated.publicKey]) {
    assert.ok(verifyAsymmetric(key, headers, body));
    assert.ok(!verifyAsymmetric(key, headers, body.replace('42', '43')));
  }
  for (const Webhook of [StandardWebhook, SvixWebhook]) new Webhook(first.signingSecret).verify(body, headers);
});

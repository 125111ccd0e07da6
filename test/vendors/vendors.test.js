// What a vendor's own SDK accepts, a source with the vendor's preset accepts, and
// what the one refuses, the other refuses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloudEvent, HTTP } from 'cloudevents';
import { InteractionType, InteractionResponseType } from 'discord-interactions';
import { createSource, event, lastReason, send } from './hub.js';
import { vendors, zoomAnswers } from './vendors.js';

const minute = 60_000;

/** What the SDK makes of a request; that it throws is how some refuse. */
async function verdict(row, request) {
  try {
    return Boolean(await row.judge({ ...request, key: row.keys[0] }));
  } catch {
    return false;
  }
}

/** A request as the vendor sends it to a source. */
async function make(row, source, { key = row.keys[0], at = Date.now(), content = 'x' } = {}) {
  const body = await row.write({ key, at, content, body: row.body });
  const query = typeof row.query === 'function' ? row.query({ body }) : (row.query ?? '');
  const url = source.url + query;
  return { url, body, headers: { 'content-type': 'application/json', ...(await row.sign({ key, url, body, at })) } };
}

const without = (headers, name) => Object.fromEntries(Object.entries(headers).filter(([one]) => one !== name));

for (const row of vendors) {
  test(`${row.provider}${row.family ? `, ${row.family}` : ''}: the hub and ${row.sdk} agree`, async (t) => {
    const source = await createSource({ provider: row.provider, ...row.source(row.keys[0]) });

    const agree = (name, expected, requested) =>
      t.test(name, async () => {
        const request = await requested();
        assert.equal(await verdict(row, request), expected, 'the SDK');
        const answer = await send(request.url, request);
        if (expected) {
          assert.equal(answer.status, 200, `the hub: ${JSON.stringify(await lastReason(source.id))}`);
          assert.equal((await event(JSON.parse(answer.body).id)).type, row.type);
        } else {
          assert.equal(answer.status, 401, answer.body);
        }
      });

    await agree('as it is sent', true, () => make(row, source));
    await agree('with text that is easily changed on the way', true, () => make(row, source, { content: 'Zoë ☃ 𝄞 </b> "\\/\n' }));
    if (!row.compact && row.signature) {
      await agree('written in an unusual way', true, async () => {
        const unusual = { ...row, write: async (how) => (row.vary ? row.vary(row.body) : ` ${await row.write(how)}\t\n`.replace('"x"', '"\\u00eb\\/"')) };
        return make(unusual, source);
      });
    }
    await agree('changed on the way', false, async () => {
      const request = await make(row, source);
      const changed = row.change(request.body);
      assert.notEqual(changed, request.body);
      return { ...request, body: changed };
    });
    await agree('signed with another key', false, () => make(row, source, { key: row.keys[1] }));
    await agree('without a signature', false, async () => {
      const request = await make(row, source);
      if (!row.signature) return { ...request, body: row.unsigned(request.body) };
      assert.ok(row.signature in request.headers);
      return { ...request, headers: without(request.headers, row.signature) };
    });
    if (row.signature) {
      await agree('with half a signature', false, async () => {
        const request = await make(row, source);
        const value = request.headers[row.signature];
        return { ...request, headers: { ...request.headers, [row.signature]: value.slice(0, value.length / 2) } };
      });
    }
    if (row.window) {
      await agree('an hour late', false, () => make(row, source, { at: Date.now() - 60 * minute }));
      await t.test('from the future, which only some SDKs refuse', async () => {
        const request = await make(row, source, { at: Date.now() + 60 * minute });
        assert.equal((await send(request.url, request)).status, 401);
        assert.equal((await lastReason(source.id)).reason, 'TIMESTAMP_OUT_OF_TOLERANCE');
      });
    }
  });
}

test('CloudEvents of the SDK become events with its ID, source and type', async () => {
  const source = await createSource({ provider: 'cloudevents', secrets: ['a-token-of-our-own'] });
  for (const [mode, write] of [['binary', HTTP.binary], ['structured', HTTP.structured]]) {
    const sent = new CloudEvent({ type: 'com.example.made', source: '/shop', id: `1 ${mode}`, subject: 'é', data: { text: 'Zoë ☃' } });
    const { headers, body } = write(sent);
    for (const [token, status] of [['a-token-of-our-own', 200], ['another', 401]]) {
      const answer = await send(source.url, { headers: { ...headers, authorization: `Bearer ${token}` }, body });
      assert.equal(answer.status, status, answer.body);
      if (status === 200) {
        assert.deepEqual(await event(JSON.parse(answer.body).id), { type: sent.type, dedupeKey: `${sent.source}:${sent.id}` });
        assert.equal(HTTP.toEvent({ headers, body }).id, sent.id);
      }
    }
  }
});

test("Zoom's URL validation is answered as its own receiver answers it", async () => {
  const row = vendors.find(({ provider }) => provider === 'zoom');
  const source = await createSource({ provider: 'zoom', ...row.source(row.keys[0]) });
  const body = '{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680}';
  const request = await make({ ...row, write: () => body }, source);
  const answer = await send(request.url, request);
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.body), JSON.parse((await zoomAnswers(row.keys[0], request.headers, body)).body));
});

test("Discord's ping is answered with a pong, and one that is not signed with a 401", async () => {
  const row = vendors.find(({ provider }) => provider === 'discord');
  const source = await createSource({ provider: 'discord', ...row.source(row.keys[0]) });
  const ping = { ...row, write: () => JSON.stringify({ id: '1', application_id: '2', type: InteractionType.PING, token: 't', version: 1 }) };
  const answer = await send(source.url, await make(ping, source));
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.body), { type: InteractionResponseType.PONG });
  assert.equal((await send(source.url, await make(ping, source, { key: row.keys[1] }))).status, 401);
});

// The hub under test, as the environment names it.
import assert from 'node:assert/strict';

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by go test ./internal/app -run TestVendors`);
  return value;
}

const hub = setting('HUB_URL');
const key = setting('HUB_KEY');

/** A certificate, its private key and another one that does not belong to it, as PEM. */
export const certificate = setting('VENDOR_CERTIFICATE');
export const certificateKeys = [setting('VENDOR_KEY'), setting('VENDOR_OTHER_KEY')];

/** Asks by GraphQL, and fails on errors. */
export async function ask(query, variables) {
  const answer = await fetch(`${hub}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

let made = 0;

/** Makes a webhook source and returns its URL as the vendor knows it, which is not where the hub listens. */
export async function createSource(input) {
  const { createSource: result } = await ask(
    'mutation ($input: CreateSourceInput!) { createSource(input: $input) { source { id url } userErrors { field message } } }',
    { input: { name: `${input.provider} ${made++}`, ...input } },
  );
  assert.deepEqual(result.userErrors, []);
  return result.source;
}

/** Sends what a vendor would send to a public URL, and returns status and body of the answer. */
export async function send(url, { method = 'POST', headers = {}, body }) {
  const { pathname, search } = new URL(url);
  const answer = await fetch(hub + pathname + search, { method, headers, body });
  return { status: answer.status, headers: answer.headers, body: await answer.text() };
}

/** What the hub says of an accepted event. */
export async function event(id) {
  const data = await ask('query ($id: ID!) { event(id: $id) { type dedupeKey } }', { id });
  return data.event;
}

/** Why the source refused its last request. */
export async function lastReason(sourceId) {
  const { source } = await ask('query ($id: ID!) { source(id: $id) { rejections(first: 1) { nodes { reason detail } } } }', { id: sourceId });
  return source.rejections.nodes[0];
}

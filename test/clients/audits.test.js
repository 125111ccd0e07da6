// GraphQL over HTTP: the audits of graphql-http, each of which is required,
// recommended or optional.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverAudits } from 'graphql-http';
import { bearer, graphql, schemaKey } from './hub.js';

// The key may introspect: some audits ask for __typename and __type.
const fetchFn = (url, init = {}) => fetch(url, { ...init, headers: { ...init.headers, ...bearer(schemaKey) } });

test('the audits of graphql-http', async (t) => {
  const audits = serverAudits({ url: graphql, fetchFn });
  const count = { MUST: 0, SHOULD: 0, MAY: 0 };
  for (const audit of audits) {
    await t.test(`${audit.id} ${audit.name}`, async () => {
      const result = await audit.fn();
      assert.equal(result.status, 'ok', result.reason);
    });
    count[audit.name.split(' ')[0]]++;
  }
  assert.deepEqual(count, { MUST: 13, SHOULD: 23, MAY: 25 });
});

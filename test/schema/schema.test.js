// Lints the schema, and compares it with the released one. Each check is shown a
// schema that it must refuse, so that a rule which no longer works is noticed.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import graphqlESLint from '@graphql-eslint/eslint-plugin';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { ESLint } from 'eslint';
import { buildSchema } from 'graphql';

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by go test ./internal/app -run TestSchema`);
  return value;
}

const root = setting('HOOKGRAPH_ROOT');
const servedFile = setting('HOOKGRAPH_SERVED_SCHEMA');
const served = await readFile(servedFile, 'utf8');

const rules = {
  '@graphql-eslint/require-description': ['error', {
    types: true, FieldDefinition: true, InputValueDefinition: true, EnumValueDefinition: true, DirectiveDefinition: true,
  }],
  '@graphql-eslint/no-hashtag-description': 'error',
  '@graphql-eslint/require-deprecation-reason': 'error',
  '@graphql-eslint/no-unreachable-types': 'error',
  '@graphql-eslint/no-scalar-result-type-on-mutation': 'error',
  '@graphql-eslint/relay-connection-types': 'error',
  '@graphql-eslint/relay-edge-types': ['error', { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false }],
  '@graphql-eslint/relay-page-info': 'error',
  '@graphql-eslint/naming-convention': ['error', {
    types: 'PascalCase', FieldDefinition: 'camelCase', InputValueDefinition: 'camelCase', Argument: 'camelCase',
    DirectiveDefinition: 'camelCase', EnumValueDefinition: 'UPPER_CASE',
    InputObjectTypeDefinition: { requiredPattern: /(Input|Filter|Range)$/ },
  }],
};

const linter = new ESLint({
  cwd: root,
  overrideConfigFile: true,
  overrideConfig: [{
    files: ['**/*.graphql'],
    plugins: { '@graphql-eslint': graphqlESLint },
    languageOptions: { parser: graphqlESLint.parser, parserOptions: { graphQLConfig: { schema: servedFile } } },
    rules,
  }],
});

/** Lints a text as a whole schema and returns what is wrong, with the line it is about. */
async function lint(text) {
  const lines = text.split('\n');
  const [{ messages }] = await linter.lintText(text, { filePath: join(root, 'schema', 'served.graphql') });
  return messages.map(({ line, message, ruleId }) => `${message} (${ruleId}): ${(lines[line - 1] ?? '').trim()}`);
}

test('the schema is described and follows the rules', async () => {
  assert.deepEqual(await lint(served), []);
});

test('the linter refuses what it is there for', async () => {
  for (const [what, sdl, rule] of [
    ['a type', 'enum Scope { "One." ONE }', 'require-description'],
    ['a field', '"A thing." type Source { id: ID }', 'require-description'],
    ['an argument', '"A thing." type Source { "Its thing." thing(which: Int): ID }', 'require-description'],
    ['an enum value', '"Kinds." enum Scope { ONE }', 'require-description'],
    ['an input field', '"A choice." input SourceFilter { kind: Int }', 'require-description'],
    ['a directive', 'directive @cost on FIELD_DEFINITION', 'require-description'],
    ['an unused type', '"Unused." scalar Unused', 'no-unreachable-types'],
    ['a name', '"A thing." type Source { "Its thing." Thing: ID }', 'naming-convention'],
    ['the name of an input', '"A choice." input SourceOptions { "Which." kind: Int }', 'naming-convention'],
    ['a deprecation without a reason', '"A thing." type Source { "Its thing." thing: ID @deprecated }', 'require-deprecation-reason'],
    ['a mutation that answers with a scalar', '"Changes." type Mutation { "Changes." change: Int }', 'no-scalar-result-type-on-mutation'],
    ['a connection without edges', '"A page." type SourceConnection { "Where." pageInfo: PageInfo! }', 'relay-connection-types'],
  ]) {
    const got = await lint(`${sdl}\n`);
    assert.ok(got.some((one) => one.includes(rule)), `${what}: ${got}`);
  }
});

/** What of one schema breaks the clients of another. */
async function breaking(before, after) {
  const changes = await diff(buildSchema(before), buildSchema(after));
  return changes.filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking).map(({ message }) => message);
}

test('nothing breaks clients of the released schema', async () => {
  const released = await readFile(join(root, 'schema', 'released.graphql'), 'utf8');
  assert.deepEqual(await breaking(released, served), []);
});

test('the comparison finds what breaks', async () => {
  const before = 'type Query { a(b: Int): Kind! c: Int } enum Kind { ONE TWO } input In { a: Int }';
  assert.deepEqual(await breaking(before, before), []);
  for (const [from, to] of [
    ['c: Int ', ''], // a field is gone
    ['c: Int', 'c: String'],
    ['Kind!', 'Kind'], // it may be null
    ['b: Int', 'b: Int!'], // an argument must be given
    ['(b: Int)', ''],
    [' TWO', ''],
    ['{ a: Int }', '{ a: Int, b: Int! }'],
  ]) {
    const after = before.replace(from, to);
    assert.notEqual(after, before);
    assert.notDeepEqual(await breaking(before, after), [], after);
  }
  assert.deepEqual(await breaking(before, before.replace('c: Int', 'c: Int d: Int')), []);
});

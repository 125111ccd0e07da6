// The vendors whose SDK on npm makes or judges signatures, one row for each preset.
//
// A row says how the vendor sends (sign) and what its SDK thinks of a request
// (judge: false or an exception is a refusal). Where the SDK can sign, it does;
// elsewhere the request is signed as the vendor's documentation says, and the SDK
// judges that too. `keys` are the right one and a wrong one; `source` is what the
// hub is configured with for a key. Bodies hold the text "x", in whose place tests
// put other things.
import { createHash, createHmac, createSign, generateKeyPairSync, sign as signRaw } from 'node:crypto';
import { createRequire } from 'node:module';
import { EventEmitter } from 'node:events';
import { verifyKey } from 'discord-interactions';
import { sign as githubSign, verify as githubVerify } from '@octokit/webhooks-methods';
import { LinearWebhookClient } from '@linear/sdk/webhooks';
import { validateSignature as lineValidates } from '@line/bot-sdk';
import { Environment, Paddle } from '@paddle/paddle-node-sdk';
import { signWebhookPayload, verifyWebhookSignature } from '@notionhq/client';
import { ApiVersion, shopifyApi } from '@shopify/shopify-api';
import '@shopify/shopify-api/adapters/node';
import { WorkOS } from '@workos-inc/node';
import { parse as gocardlessParses } from 'gocardless-nodejs';
import { CompactSign, compactVerify, jwtVerify } from 'jose';
import Mux from '@mux/mux-node';
import OpenAI from 'openai';
import { Resend } from 'resend';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { Webhook as SvixWebhook } from 'svix';
import { certificate, certificateKeys } from './hub.js';

// Some SDKs are CommonJS and do not tell their names to import.
const require = createRequire(import.meta.url);
const { hmacValidator: AdyenValidator } = require('@adyen/api-library');
const { Signature: HubSpotSignature } = require('@hubspot/api-client');
const { EventWebhook: SendGridWebhook } = require('@sendgrid/eventwebhook');
const { verifySlackRequest } = require('@slack/bolt');
const { AwsLambdaReceiver: ZoomReceiver } = require('@zoom/rivet/users');
const coinbase = require('coinbase-commerce-node');
const Razorpay = require('razorpay');
const SNSValidator = require('sns-validator');
const { WebhooksHelper: Square } = require('square');
const twilio = require('twilio');

const seconds = (at) => Math.floor(at / 1000);
const hmac = (key, content, encoding, algorithm = 'sha256') => createHmac(algorithm, key).update(content).digest(encoding);

const texts = ['MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'wrong-b3RoZXJvdGhlcm90aGVyb3Ro'];
const standardSecrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy'];
const pair = (type, options) => [generateKeyPairSync(type, options), generateKeyPairSync(type, options)];

/** Standard Webhooks: signed by its own library under the vendor's names of the headers. */
function standard(provider, sdk, prefix, judge, more = {}) {
  const name = (part) => `${prefix}-${part}`;
  return {
    provider,
    sdk,
    keys: standardSecrets,
    type: 'invoice.paid',
    signature: name('signature'),
    window: 300,
    sign: ({ key, body, at }) => ({
      [name('id')]: 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W',
      [name('timestamp')]: `${seconds(at)}`,
      [name('signature')]: new StandardWebhook(key).sign('msg_2KWPBgLlAfxdpx2AI54pPJ85f4W', new Date(at), body),
    }),
    judge: ({ key, headers, body }) => judge(key, headers, body),
    ...more,
  };
}

const shopify = shopifyApi({
  apiKey: 'key', apiSecretKey: texts[0], hostName: 'shop.example', apiVersion: ApiVersion.October25 ?? Object.values(ApiVersion)[0],
  isEmbeddedApp: false, logger: { log: () => {} },
});

/** Shopify's two families of deliveries differ by the names of their headers. */
function shopifyRow(family, names) {
  return {
    provider: 'shopify',
    sdk: '@shopify/shopify-api',
    family,
    type: 'orders/create',
    signature: names('hmac-sha256'),
    sign: ({ key, body }) => ({
      [names('hmac-sha256')]: hmac(key, body, 'base64'),
      [names('topic')]: 'orders/create',
      [names('shop-domain')]: 'a.myshopify.com',
      [names('api-version')]: '2026-10',
      [names('webhook-id')]: 'b54557e4-bdd9-4b37-8a5f-bf7d70bcd043',
      [names('event-id')]: '98880550-7158-44d4-b7cd-2c97c8a091b5',
    }),
    judge: async ({ headers, body }) => (await shopify.webhooks.validate({ rawBody: body, rawRequest: { method: 'POST', url: '/', headers } })).valid,
  };
}

// The certificate of SNS, at the host where the SDK asks for it.
const https = require('node:https');
const reach = https.get;
https.get = (address, ...rest) => {
  if (!String(address).startsWith('https://sns.us-east-1.amazonaws.com/')) return reach(address, ...rest);
  const answer = Object.assign(new EventEmitter(), { statusCode: 200 });
  process.nextTick(() => {
    rest.at(-1)(answer);
    answer.emit('data', Buffer.from(certificate));
    answer.emit('end');
  });
  return new EventEmitter();
};

const topic = 'arn:aws:sns:us-east-1:123456789012:orders';

function signSNS(message, key) {
  const names = message.Type === 'Notification'
    ? ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']
    : ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type'];
  const content = names.filter((name) => message[name] !== undefined).map((name) => `${name}\n${message[name]}\n`).join('');
  const algorithm = message.SignatureVersion === '1' ? 'RSA-SHA1' : 'RSA-SHA256';
  return { ...message, Signature: createSign(algorithm).update(content).sign(key, 'base64') };
}

function snsRow(family, change) {
  return {
    provider: 'aws-sns',
    sdk: 'sns-validator',
    family,
    type: 'Notification',
    keys: certificateKeys,
    source: () => ({ providerConfig: { topicArn: topic, signingCertPem: certificate } }),
    // What is signed are members of the body, so sign writes them.
    write: ({ key, at, content }) => JSON.stringify(signSNS({
      Type: 'Notification', MessageId: `165545c9-2a5c-472c-8df2-${at}`, TopicArn: topic, Subject: content, Message: content,
      Timestamp: new Date(at).toISOString(), SignatureVersion: '2',
      SigningCertURL: 'https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem',
      UnsubscribeURL: 'https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe', ...change,
    }, key)),
    unsigned: (body) => JSON.stringify({ ...JSON.parse(body), Signature: undefined }),
    judge: ({ body }) => new Promise((resolve, reject) => {
      new SNSValidator().validate(body, (error) => (error ? reject(error) : resolve(true)));
    }),
  };
}

const adyenKeys = ['44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056', '0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF'];
const adyen = new AdyenValidator();

const twilioForm = (body) => {
  const fields = {};
  for (const [name, value] of new URLSearchParams(body)) {
    fields[name] = name in fields ? [fields[name], value].flat() : value;
  }
  return fields;
};

/** Twilio may sign its URL in another spelling than it calls. */
function twilioRow(family, spell) {
  return {
    provider: 'twilio',
    sdk: 'twilio',
    family,
    type: 'delivered',
    body: 'SmsSid=SM1&MessageStatus=delivered&Body=a%20b%26c%3D+%C3%A9&MediaUrl=2&MediaUrl=1&MediaUrl=2&Empty=',
    change: (body) => body.replace('delivered', 'failed'),
    vary: (body) => body.replace('Body=', 'Body=%E2%98%83%0A%22'),
    query: '?store=1&name=a%20b&to=a:b',
    signature: 'x-twilio-signature',
    sign: ({ key, url, body }) => ({
      'x-twilio-signature': twilio.getExpectedTwilioSignature(key, spell(url), twilioForm(body)),
      'content-type': 'application/x-www-form-urlencoded; charset=UTF-8',
    }),
    judge: ({ key, url, headers, body }) => twilio.validateRequest(key, headers['x-twilio-signature'], url, twilioForm(body)),
  };
}

const workos = new WorkOS('sk_1');

const quiet = async (work) => {
  const { debug, error } = console;
  console.debug = console.error = () => {};
  try {
    return await work();
  } finally {
    Object.assign(console, { debug, error });
  }
};

/** What Zoom's own receiver answers to a request. */
export const zoomAnswers = (key, headers, body) => quiet(() => new ZoomReceiver({ webhooksSecretToken: key }).start()({ headers, body }, {}));

export const vendors = [
  standard('standard-webhooks', 'standardwebhooks', 'webhook', (key, headers, body) => new StandardWebhook(key).verify(body, headers)),
  standard('gitlab-signing-token', 'standardwebhooks', 'webhook', (key, headers, body) => new StandardWebhook(key).verify(body, headers)),
  standard('svix', 'svix', 'svix', (key, headers, body) => new SvixWebhook(key).verify(body, headers)),
  standard('resend', 'resend', 'svix', (key, headers, body) => new Resend('re_1').webhooks.verify({
    payload: body, webhookSecret: key,
    headers: { id: headers['svix-id'], timestamp: headers['svix-timestamp'], signature: headers['svix-signature'] },
  })),
  standard('openai', 'openai', 'webhook', async (key, headers, body) => {
    await new OpenAI({ apiKey: 'sk-1', webhookSecret: key }).webhooks.verifySignature(body, headers);
    return true;
  }),
  {
    provider: 'stripe',
    sdk: 'stripe',
    keys: ['whsec_test_secret', 'whsec_other_secret'],
    type: 'invoice.paid',
    signature: 'stripe-signature',
    window: 300,
    sign: ({ key, body, at }) => ({
      'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload: body, secret: key, timestamp: seconds(at) }),
    }),
    judge: ({ key, headers, body }) => Stripe.webhooks.constructEvent(body, headers['stripe-signature'], key),
  },
  {
    provider: 'github',
    sdk: '@octokit/webhooks-methods',
    type: 'issues.opened',
    body: '{"action":"opened","type":"x","issue":{"number":1}}',
    signature: 'x-hub-signature-256',
    sign: async ({ key, body }) => ({ 'x-hub-signature-256': await githubSign(key, body), 'x-github-event': 'issues', 'x-github-delivery': `${Math.random()}` }),
    judge: ({ key, headers, body }) => githubVerify(key, body, headers['x-hub-signature-256']),
  },
  shopifyRow('webhooks', (name) => `x-shopify-${name}`),
  shopifyRow('events', (name) => `shopify-${name}`),
  {
    provider: 'slack',
    sdk: '@slack/bolt',
    type: 'message',
    body: '{"type":"event_callback","event_id":"Ev1","event":{"type":"message","text":"x"}}',
    signature: 'x-slack-signature',
    window: 300,
    sign: ({ key, body, at }) => ({ 'x-slack-request-timestamp': `${seconds(at)}`, 'x-slack-signature': `v0=${hmac(key, `v0:${seconds(at)}:${body}`, 'hex')}` }),
    judge: ({ key, headers, body }) => {
      verifySlackRequest({ signingSecret: key, body, headers: { ...headers, 'x-slack-request-timestamp': Number(headers['x-slack-request-timestamp']) } });
      return true;
    },
  },
  twilioRow('the URL as it is called', (url) => url),
  twilioRow('the URL with its port', (url) => url.replace('.com/', '.com:443/')),
  twilioRow('the query escaped further', (url) => url.replace('a:b', 'a%3Ab')),
  {
    provider: 'twilio-json',
    sdk: 'twilio',
    type: 'onMessageAdded',
    body: '{"EventType":"onMessageAdded","Body":"x"}',
    query: ({ body }) => `?a=1&bodySHA256=${createHash('sha256').update(body).digest('hex')}`,
    signature: 'x-twilio-signature',
    sign: ({ key, url }) => ({ 'x-twilio-signature': twilio.getExpectedTwilioSignature(key, url, {}), 'content-type': 'application/json' }),
    judge: ({ key, url, headers, body }) => twilio.validateRequestWithBody(key, headers['x-twilio-signature'], url, body),
  },
  {
    provider: 'sendgrid',
    sdk: '@sendgrid/eventwebhook',
    keys: pair('ec', { namedCurve: 'prime256v1' }),
    source: ({ publicKey }) => ({ providerConfig: { publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64') } }),
    type: 'delivered',
    body: '[{"sg_event_id":"e1","event":"delivered","type":"x","timestamp":1773500966}]\r\n',
    signature: 'x-twilio-email-event-webhook-signature',
    sign: ({ key, body, at }) => ({
      'x-twilio-email-event-webhook-timestamp': `${seconds(at)}`,
      'x-twilio-email-event-webhook-signature': createSign('sha256').update(`${seconds(at)}${body}`).sign(key.privateKey, 'base64'),
    }),
    judge: ({ key, headers, body }) => {
      const judge = new SendGridWebhook();
      return judge.verifySignature(
        judge.convertPublicKeyToECDSA(key.publicKey.export({ type: 'spki', format: 'pem' })), body,
        headers['x-twilio-email-event-webhook-signature'], headers['x-twilio-email-event-webhook-timestamp'],
      );
    },
  },
  {
    provider: 'square',
    sdk: 'square',
    type: 'invoice.paid',
    signature: 'x-square-hmacsha256-signature',
    sign: ({ key, url, body }) => ({ 'x-square-hmacsha256-signature': hmac(key, url + body, 'base64') }),
    judge: ({ key, url, headers, body }) => Square.verifySignature({
      requestBody: body, signatureHeader: headers['x-square-hmacsha256-signature'], signatureKey: key, notificationUrl: url,
    }),
  },
  {
    provider: 'adyen',
    sdk: '@adyen/api-library',
    keys: adyenKeys,
    type: 'AUTHORISATION',
    write: ({ key, at, content }) => {
      const item = {
        pspReference: `79140733${at}`, originalReference: '', merchantAccountCode: 'TestMerchant', merchantReference: content,
        amount: { value: 1130, currency: 'EUR' }, eventCode: 'AUTHORISATION', success: 'true', eventDate: '2026-03-14T15:09:26+00:00', additionalData: {},
      };
      item.additionalData.hmacSignature = adyen.calculateHmac(item, key);
      return JSON.stringify({ live: 'false', notificationItems: [{ NotificationRequestItem: item }] });
    },
    unsigned: (body) => body.replace('"hmacSignature"', '"other"'),
    judge: ({ key, body }) => adyen.validateHMAC(JSON.parse(body).notificationItems[0].NotificationRequestItem, key),
  },
  {
    provider: 'adyen-platforms',
    sdk: '@adyen/api-library',
    keys: adyenKeys,
    type: 'invoice.paid',
    signature: 'hmacsignature',
    sign: ({ key, body }) => ({ hmacsignature: adyen.calculateHmac(body, key), protocol: 'HmacSHA256' }),
    judge: ({ key, headers, body }) => adyen.validateHMACSignature(key, headers.hmacsignature, body),
  },
  {
    provider: 'paddle',
    sdk: '@paddle/paddle-node-sdk',
    type: 'transaction.paid',
    body: '{"event_id":"e1","event_type":"transaction.paid","type":"x","occurred_at":"2026-03-14T15:09:26Z","data":{}}',
    signature: 'paddle-signature',
    window: 300,
    sign: ({ key, body, at }) => ({ 'paddle-signature': `ts=${seconds(at)};h1=${hmac(key, `${seconds(at)}:${body}`, 'hex')}` }),
    judge: ({ key, headers, body }) => new Paddle('key', { environment: Environment.sandbox }).webhooks.isSignatureValid(body, key, headers['paddle-signature']),
  },
  {
    provider: 'zoom',
    sdk: '@zoom/rivet',
    type: 'meeting.started',
    body: '{"event":"meeting.started","type":"x","event_ts":1773500966000,"payload":{"object":{"uuid":"u1"}}}',
    compact: true, // the SDK writes the body anew before it signs it
    signature: 'x-zm-signature',
    sign: ({ key, body, at }) => ({ 'x-zm-request-timestamp': `${seconds(at)}`, 'x-zm-signature': `v0=${hmac(key, `v0:${seconds(at)}:${body}`, 'hex')}` }),
    judge: async ({ key, headers, body }) => (await zoomAnswers(key, headers, body)).statusCode === 200,
  },
  {
    provider: 'discord',
    sdk: 'discord-interactions',
    keys: pair('ed25519'),
    source: ({ publicKey }) => ({ providerConfig: { publicKey: discordKey(publicKey) } }),
    type: '2',
    body: '{"id":"1","type":2,"channel_id":"c1","text":"x"}',
    signature: 'x-signature-ed25519',
    sign: ({ key, body, at }) => ({
      'x-signature-timestamp': `${seconds(at)}`,
      'x-signature-ed25519': signRaw(null, Buffer.from(`${seconds(at)}${body}`), key.privateKey).toString('hex'),
    }),
    judge: ({ key, headers, body }) => verifyKey(body, headers['x-signature-ed25519'], headers['x-signature-timestamp'], discordKey(key.publicKey)),
  },
  {
    provider: 'linear',
    sdk: '@linear/sdk',
    type: 'Issue.create',
    signature: 'linear-signature',
    window: 60,
    write: ({ at, content }) => `{"action":"create","type":"Issue","data":{"id":"i1","title":${JSON.stringify(content)}},"webhookTimestamp":${at}}`,
    sign: ({ key, body }) => ({ 'linear-signature': hmac(key, body, 'hex'), 'linear-event': 'Issue', 'linear-delivery': `${Math.random()}` }),
    judge: ({ key, headers, body }) => new LinearWebhookClient(key).verify(Buffer.from(body), headers['linear-signature'], JSON.parse(body).webhookTimestamp),
  },
  {
    provider: 'notion',
    sdk: '@notionhq/client',
    type: 'page.created',
    body: '{"id":"n1","type":"page.created","entity":{"id":"p1","type":"x"}}',
    signature: 'x-notion-signature',
    sign: async ({ key, body }) => ({ 'x-notion-signature': await signWebhookPayload({ body, verificationToken: key }) }),
    judge: ({ key, headers, body }) => verifyWebhookSignature({ body, signature: headers['x-notion-signature'], verificationToken: key }),
  },
  {
    provider: 'hubspot',
    sdk: '@hubspot/api-client',
    type: 'contact.creation',
    body: '[{"eventId":1,"subscriptionId":2,"occurredAt":1773500966000,"subscriptionType":"contact.creation","type":"x"}]',
    query: '?portal=1&name=a',
    signature: 'x-hubspot-signature-v3',
    window: 300,
    sign: ({ key, url, body, at }) => ({
      'x-hubspot-request-timestamp': `${at}`,
      'x-hubspot-signature-v3': HubSpotSignature.getSignature('POST', 'v3', { clientSecret: key, requestBody: body, url, timestamp: at }),
    }),
    judge: ({ key, url, headers, body }) => HubSpotSignature.isValid({
      signatureVersion: 'v3', method: 'POST', url, requestBody: body, clientSecret: key,
      signature: headers['x-hubspot-signature-v3'], timestamp: Number(headers['x-hubspot-request-timestamp']),
    }),
  },
  snsRow('SHA-256', {}),
  snsRow('SHA-1', { SignatureVersion: '1' }),
  snsRow('without a subject', { Subject: undefined }),
  {
    provider: 'coinbase-commerce',
    sdk: 'coinbase-commerce-node',
    type: 'charge:confirmed',
    body: '{"event":{"id":"e1","type":"charge:confirmed","created_at":"2026-03-14T15:09:26Z","data":{"id":"c1"}},"type":"x"}',
    signature: 'x-cc-webhook-signature',
    sign: ({ key, body }) => ({ 'x-cc-webhook-signature': coinbase.Webhook.computeSignature(body, key) }),
    judge: ({ key, headers, body }) => coinbase.Webhook.verifyEventBody(body, headers['x-cc-webhook-signature'], key),
  },
  {
    // Plaid's own SDK fetches the key; its documentation verifies with jose.
    provider: 'plaid',
    sdk: 'jose',
    keys: pair('ec', { namedCurve: 'P-256' }),
    source: ({ publicKey }) => ({ providerConfig: { jwk: { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'key-1' } } }),
    type: 'ITEM.ERROR',
    body: '{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"i1","type":"x"}',
    signature: 'plaid-verification',
    window: 300,
    sign: async ({ key, body, at }) => ({
      'plaid-verification': await new CompactSign(Buffer.from(JSON.stringify({ iat: seconds(at), request_body_sha256: createHash('sha256').update(body).digest('hex') })))
        .setProtectedHeader({ alg: 'ES256', kid: 'key-1', typ: 'JWT' })
        .sign(key.privateKey),
    }),
    judge: async ({ key, headers, body }) => {
      await compactVerify(headers['plaid-verification'], key.publicKey, { algorithms: ['ES256'] });
      const { payload } = await jwtVerify(headers['plaid-verification'], key.publicKey, { algorithms: ['ES256'], maxTokenAge: '5 min' });
      return payload.request_body_sha256 === createHash('sha256').update(body).digest('hex');
    },
  },
  {
    provider: 'workos',
    sdk: '@workos-inc/node',
    type: 'user.created',
    body: '{"id":"e1","event":"user.created","type":"x","data":{"id":"u1"}}',
    compact: true, // the SDK writes the body anew before it signs it
    signature: 'workos-signature',
    window: 180,
    sign: async ({ key, body, at }) => ({ 'workos-signature': `t=${at}, v1=${await workos.webhooks.computeSignature(at, JSON.parse(body), key)}` }),
    judge: ({ key, headers, body }) => workos.webhooks.verifyHeader({ payload: JSON.parse(body), sigHeader: headers['workos-signature'], secret: key }),
  },
  {
    provider: 'gocardless',
    sdk: 'gocardless-nodejs',
    type: 'payments.confirmed',
    body: '{"events":[{"id":"EV1","resource_type":"payments","action":"confirmed","type":"x"}]}',
    signature: 'webhook-signature',
    sign: ({ key, body }) => ({ 'webhook-signature': hmac(key, body, 'hex') }),
    judge: ({ key, headers, body }) => gocardlessParses(body, key, headers['webhook-signature']),
  },
  {
    provider: 'razorpay',
    sdk: 'razorpay',
    type: 'payment.captured',
    body: '{"event":"payment.captured","created_at":1773500966,"type":"x"}',
    signature: 'x-razorpay-signature',
    sign: ({ key, body }) => ({ 'x-razorpay-signature': hmac(key, body, 'hex'), 'x-razorpay-event-id': `${Math.random()}` }),
    judge: ({ key, headers, body }) => Razorpay.validateWebhookSignature(body, headers['x-razorpay-signature'], key),
  },
  {
    provider: 'line',
    sdk: '@line/bot-sdk',
    type: 'message',
    body: '{"destination":"U1","events":[{"type":"message","webhookEventId":"w1","text":"x"}]}',
    signature: 'x-line-signature',
    sign: ({ key, body }) => ({ 'x-line-signature': hmac(key, body, 'base64') }),
    judge: ({ key, headers, body }) => lineValidates(body, key, headers['x-line-signature']),
  },
  {
    provider: 'mux',
    sdk: '@mux/mux-node',
    type: 'invoice.paid',
    signature: 'mux-signature',
    window: 300,
    sign: ({ key, body, at }) => ({ 'mux-signature': `t=${seconds(at)},v1=${hmac(key, `${seconds(at)}.${body}`, 'hex')}` }),
    judge: async ({ key, headers, body }) => {
      await new Mux({ tokenId: 'i', tokenSecret: 's' }).webhooks.verifySignature(body, headers, key);
      return true;
    },
  },
].map((row) => ({
  keys: texts,
  source: (key) => ({ secrets: [key] }),
  change: (body) => body.replace('"x"', '"y"'),
  sign: () => ({}),
  write: ({ body, content }) => body.replace('"x"', content === 'x' ? '"x"' : JSON.stringify(content)),
  body: '{"id":"evt_1","type":"invoice.paid","data":{"text":"x"}}',
  ...row,
}));

function discordKey(publicKey) {
  return Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url').toString('hex');
}

// A provider that signs everybody in, and lies as it is told: `node lying.mjs settings.json`.
// `GET /lie/<name>` on its second port says how, from then on.
import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Events, OAuth2Server } from 'oauth2-mock-server';

const { port, control, client, claims } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const now = () => Math.floor(Date.now() / 1000);
const base64url = (value) => Buffer.from(value).toString('base64url');

const makeKey = (kid) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { privateKey, jwk: { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' } };
};
const [ours, others, next] = [makeKey('ours'), makeKey('others'), makeKey('next')];

const signed = (header, payload, signature) => {
  const text = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(payload))}`;
  return `${text}.${signature(text)}`;
};
const rsa = (key) => (text) => base64url(sign('RSA-SHA256', Buffer.from(text), key.privateKey));
const hmac = (secret) => (text) => createHmac('sha256', secret).update(text).digest('base64url');

// What is changed in the payload before it is signed.
const inPayload = {
  'another audience': (token) => { token.aud = 'another'; },
  'no audience': (token) => { delete token.aud; },
  'other audiences beside us': (token) => { token.aud = [client.id, 'another']; },
  'other audiences, issued to us': (token) => { token.aud = [client.id, 'another']; token.azp = client.id; },
  'issued to another': (token) => { token.azp = 'another'; },
  'another issuer': (token) => { token.iss = 'https://login.example.org'; },
  'this issuer with a slash': (token) => { token.iss += '/'; },
  'expired': (token) => { token.exp = now() - 1; },
  'issued an hour ago': (token) => { token.iat = now() - 3600; },
  'issued in an hour': (token) => { token.iat = now() + 3600; },
  'not valid yet': (token) => { token.nbf = now() + 3600; },
  'not valid before a word': (token) => { token.nbf = 'now'; },
  'no nonce': (token) => { delete token.nonce; },
  'another nonce': (token) => { token.nonce = 'another'; },
  'nobody': (token) => { delete token.sub; },
  'another access token': (token) => { token.at_hash = base64url('0123456789abcdef'); },
  'no groups': (token) => { delete token.groups; },
  'groups of nobody here': (token) => { token.groups = ['strangers', 'Admins', 'admins ']; },
  'userinfo of somebody else': (token) => { delete token.groups; },
};

// What is done to the whole answer of the token endpoint.
const inAnswer = {
  'another key with the same name': (body, payload) => {
    body.id_token = signed({ alg: 'RS256', kid: 'ours' }, payload, rsa(others));
  },
  'a key that is not shown': (body, payload) => {
    body.id_token = signed({ alg: 'RS256', kid: 'others' }, payload, rsa(others));
  },
  'a key of its own making': (body, payload) => {
    const jwk = createPublicKey(others.privateKey).export({ format: 'jwk' });
    body.id_token = signed({ alg: 'RS256', jwk }, payload, rsa(others));
  },
  'no signature': (body, payload) => {
    body.id_token = signed({ alg: 'none' }, payload, () => '');
  },
  'no signature, with a key': (body, payload) => {
    body.id_token = signed({ alg: 'none', kid: 'ours' }, payload, () => '');
  },
  'the signature cut off': (body) => {
    body.id_token = body.id_token.replace(/[^.]*$/, '');
  },
  'a secret made of the public key': (body, payload) => {
    const pem = createPublicKey(ours.privateKey).export({ type: 'spki', format: 'pem' });
    body.id_token = signed({ alg: 'HS256', kid: 'ours' }, payload, hmac(pem));
  },
  'our own secret': (body, payload) => {
    body.id_token = signed({ alg: 'HS256' }, payload, hmac(client.secret));
  },
  'a changed payload': (body, payload) => {
    const parts = body.id_token.split('.');
    parts[1] = base64url(JSON.stringify({ ...payload, sub: 'somebody else' }));
    body.id_token = parts.join('.');
  },
  'another kind of token': (body, payload) => {
    body.id_token = signed({ alg: 'RS256', kid: 'ours', typ: 'at+jwt' }, payload, rsa(ours));
  },
  'an extension that must be understood': (body, payload) => {
    body.id_token = signed({ alg: 'RS256', kid: 'ours', crit: ['x'], x: 1 }, payload, rsa(ours));
  },
  'its access token for an ID token': (body) => { body.id_token = body.access_token; },
  'no ID token': (body) => { delete body.id_token; },
  'text for an ID token': (body) => { body.id_token = 'secret.words.here'; },
  'a new key': (body, payload) => {
    body.id_token = signed({ alg: 'RS256', kid: 'next' }, payload, rsa(next));
  },
  'two megabytes': (body) => { body.more = 'x'.repeat(2 * 1024 * 1024); },
};

// How the token endpoint does not answer.
const inStatus = {
  'a refusal': [400, { error: 'invalid_grant', error_description: 'no\r\n\u202emore' + '!'.repeat(999) }],
  'a breakdown': [503, { error: 'server_error' }],
  'a redirect': [302, {}],
};

let lie = 'none';
const server = new OAuth2Server();
await server.issuer.keys.add(ours.jwk);
server.service.on(Events.BeforeTokenSigning, ({ payload }) => {
  Object.assign(payload, claims);
  inPayload[lie]?.(payload);
});
server.service.on(Events.BeforeResponse, (answer) => {
  const payload = JSON.parse(Buffer.from(answer.body.id_token.split('.')[1], 'base64url'));
  inAnswer[lie]?.(answer.body, payload);
  [answer.statusCode, answer.body] = inStatus[lie] ?? [answer.statusCode, answer.body];
});
server.service.on(Events.BeforeUserinfo, (answer) => {
  answer.body = { ...answer.body, groups: [] };
  if (lie === 'userinfo of somebody else') {
    answer.body = { ...claims, sub: 'somebody else' };
  }
});
await server.start(port, '127.0.0.1');

const lies = new Set(['none', ...[inPayload, inAnswer, inStatus].flatMap(Object.keys)]);
createServer(async (request, response) => {
  lie = decodeURIComponent(request.url.replace('/lie/', ''));
  if (lie === 'a new key') {
    await server.issuer.keys.add(next.jwk);
  }
  response.statusCode = lies.has(lie) ? 204 : 404;
  response.end();
}).listen(control, '127.0.0.1');

// A certified OpenID provider with login and consent pages of its own: `node honest.mjs settings.json`.
// The name that somebody types at login is who they are; the password can be anything.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const { issuer, port, key, certificate, client, people } = JSON.parse(
  readFileSync(process.argv[2], 'utf8'),
);
const { privateKey } = await generateKeyPair('ES256', { extractable: true });
const signing = { ...(await exportJWK(privateKey)), use: 'sig', alg: 'ES256', kid: 'first' };

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      // On a person's own machine any port is as good as another (RFC 8252 section 7.3).
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback'],
      id_token_signed_response_alg: 'ES256',
    },
  ],
  jwks: { keys: [signing] },
  cookies: { keys: ['a key for the cookies of a test'] },
  pkce: { required: () => true },
  // As the standard has it, these are told at userinfo and not in the ID token.
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name'],
    groups: ['groups'],
  },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...people[sub] }),
  }),
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 300, IdToken: 300, Interaction: 300, Session: 300 },
});
for (const event of ['server_error', 'authorization.error', 'grant.error', 'userinfo.error']) {
  provider.on(event, (_, error) => console.error(event, error.message, error.error_detail ?? ''));
}

const options = { key: readFileSync(key), cert: readFileSync(certificate) };
createServer(options, provider.callback()).listen(port, '127.0.0.1');

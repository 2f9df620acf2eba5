// The provider `oidc-provider`: a certified one, without dynamic registration.
//
// Its argument is JSON: `client` (id, secret, redirect URI), `accessTokenSeconds` and `rotating`: if
// true, access tokens are JWTs, and refresh tokens are used once and given for `offline_access` only;
// if false, access tokens are opaque and a refresh token stays. It says where it is, and then answers
// how often tokens were refreshed.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';

import { Provider } from 'oidc-provider';

import { answer, send } from './protocol.mjs';

const { client, accessTokenSeconds, rotating } = JSON.parse(process.argv[2]);

const ALICE = { sub: 'alice', email: 'alice@example.com', email_verified: true };
const PASSWORD = 'wonderland';
const API = 'urn:example:api';

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [client.redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
    },
  ],
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  // Fixed: claims are at userinfo only, as the specification has it and this package by default.
  conformIdTokenClaims: !rotating,
  rotateRefreshToken: rotating,
  ...(rotating ? {} : { issueRefreshToken: () => true }),
  ttl: {
    AccessToken: accessTokenSeconds,
    Grant: 3600,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 3600,
    Session: 3600,
  },
  cookies: { keys: ['a cookie key'] },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: rotating,
      defaultResource: () => API,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'openid offline_access profile email',
        audience: API,
        accessTokenFormat: 'jwt',
        accessTokenTTL: accessTokenSeconds,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  findAccount: () => ({ accountId: ALICE.sub, claims: () => ALICE }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
});

/** One page for login and consent; our proxy has asked for consent already. */
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  if (ctx.method === 'GET') {
    ctx.type = 'html';
    ctx.body = `<!doctype html><html lang="en"><title>Log in</title><form method="post">
<label>Name <input name="name"></label> <label>Password <input name="password" type="password"></label>
<button name="answer" value="yes">Log in</button> <button name="answer" value="cancel">Cancel</button>
</form></html>`;
    return;
  }
  const form = new URLSearchParams(await text(ctx.req));
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  if (form.get('name') !== ALICE.sub || form.get('password') !== PASSWORD) {
    return provider.interactionFinished(ctx.req, ctx.res, { error: 'access_denied' });
  }
  const grant = new provider.Grant({ accountId: ALICE.sub, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  grant.addResourceScope(API, params.scope);
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: ALICE.sub }, consent });
});

let refreshes = 0;
provider.on('grant.success', (ctx) => (refreshes += ctx.oidc.params.grant_type === 'refresh_token'));
provider.on('server_error', (_, error) => process.stderr.write(`${error.stack}\n`));

server.on('request', provider.callback());
send({ issuer });
await answer({ refreshes: () => refreshes });

// What the two TypeScript clients have in common: a login kept in memory, and a connection that is
// made again when somebody had to log in.

import { answer, authorize } from './protocol.mjs';

/** Nobody listens there: the scripted browser stops before. */
const REDIRECT_URI = 'http://127.0.0.1:51999/callback';

/** The `OAuthClientProvider` of both packages. */
class Login {
  redirectUrl = REDIRECT_URI;
  kept = {};

  constructor(name) {
    this.clientMetadata = { client_name: name, redirect_uris: [REDIRECT_URI] };
  }

  state() {
    return (this.expectedState = crypto.randomUUID());
  }
  clientInformation() {
    return this.kept.client;
  }
  saveClientInformation(client) {
    this.kept.client = client;
  }
  tokens() {
    return this.kept.tokens;
  }
  saveTokens(tokens) {
    this.kept.tokens = tokens;
  }
  codeVerifier() {
    return this.kept.verifier;
  }
  saveCodeVerifier(verifier) {
    this.kept.verifier = verifier;
  }
  redirectToAuthorization(url) {
    this.authorizationUrl = url;
  }
  invalidateCredentials(scope) {
    if (scope === 'all') this.kept = {};
    else delete this.kept[scope];
  }
}

/**
 * Answers the test with a client of one package.
 *
 * `sdk` says what differs: its classes `Transport` and `UnauthorizedError`, and the functions
 * `client(name)`, `call(client, request, onprogress)` and `finish(transport, parameters)`.
 */
export function run(name, sdk) {
  const login = new Login(name);
  let client, transport, endpoint;

  async function connect() {
    transport = new sdk.Transport(new URL(endpoint), { authProvider: login });
    client = sdk.client(name);
    await client.connect(transport);
  }

  /** Does `operation`; if that takes a person to log in, has them do it and does it again. */
  async function authorized(operation) {
    try {
      return await operation();
    } catch (error) {
      if (!(error instanceof sdk.UnauthorizedError)) throw error;
    }
    const { searchParams } = await authorize(login.authorizationUrl);
    if (searchParams.get('state') !== login.expectedState) throw new Error('another state came back');
    await sdk.finish(transport, searchParams);
    return await operation();
  }

  return answer({
    connect({ url, document }) {
      endpoint = url;
      if (document) login.clientMetadataUrl = document;
      return authorized(connect);
    },
    async tools() {
      const { tools } = await authorized(() => client.listTools());
      return tools.map((tool) => tool.name);
    },
    call({ tool, arguments: args }) {
      return authorized(async () => {
        const progress = [];
        const heard = (step) => progress.push(step.progress);
        const result = await sdk.call(client, { name: tool, arguments: args }, heard);
        return { text: result.content.map((block) => block.text).join(''), progress };
      });
    },
    kept: () => ({ client_id: login.kept.client.client_id, ...login.kept.tokens }),
  });
}

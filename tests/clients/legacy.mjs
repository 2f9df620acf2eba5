// The client of `@modelcontextprotocol/sdk`, the package before the split.

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { run } from './session.mjs';

await run('legacy', {
  Transport: StreamableHTTPClientTransport,
  UnauthorizedError,
  client: (name) => new Client({ name, version: '1' }),
  call: (client, request, onprogress) => client.callTool(request, undefined, { onprogress }),
  async finish(transport, parameters) {
    // It leaves the error of an authorization response to the program that uses it.
    if (parameters.has('error')) throw new Error(`the login failed: ${parameters.get('error')}`);
    await transport.finishAuth(parameters.get('code'));
  },
});

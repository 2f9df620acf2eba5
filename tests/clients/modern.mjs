// The client `@modelcontextprotocol/client`.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

import { run } from './session.mjs';

await run('modern', {
  Transport: StreamableHTTPClientTransport,
  UnauthorizedError,
  client: (name) =>
    new Client({ name, version: '1' }, { versionNegotiation: { mode: 'auto' } }),
  call: (client, request, onprogress) => client.callTool(request, { onprogress }),
  finish: (transport, parameters) => transport.finishAuth(parameters),
});

// `mcp-remote`, used as its users do: a program that speaks MCP on standard input and output, whose
// browser is somebody else's business.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { answer, authorize } from './protocol.mjs';

const program = join(import.meta.dirname, 'node_modules/mcp-remote/dist/proxy.js');
const kept = join(import.meta.dirname, 'mcp-remote');
const client = new Client({ name: 'remote', version: '1' });

/** A call may wait for a person to log in, and the machine may be busy. */
const patience = { timeout: 60_000 };

await answer({
  async connect({ url }) {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [program, url, '--auth-timeout', '60'],
      // `BROWSER` is what its opener starts; the variables of a desktop would win over it.
      env: { PATH: process.env.PATH, HOME: kept, MCP_REMOTE_CONFIG_DIR: kept, BROWSER: 'true' },
      stderr: 'pipe',
    });
    createInterface({ input: transport.stderr }).on('line', browse);
    await client.connect(transport, patience);
  },
  async tools() {
    const { tools } = await client.listTools(undefined, patience);
    return tools.map((tool) => tool.name);
  },
  async call({ tool, arguments: args }) {
    const progress = [];
    const onprogress = (step) => progress.push(step.progress);
    const result = await client.callTool({ name: tool, arguments: args }, { onprogress, ...patience });
    return { text: result.content.map((block) => block.text).join(''), progress };
  },
  kept() {
    return { client_id: stored('_client_info.json').client_id, ...stored('_tokens.json') };
  },
});

/** What it has written to the file whose name ends so. */
function stored(name) {
  const files = readdirSync(kept, { recursive: true, encoding: 'utf8' });
  return JSON.parse(readFileSync(join(kept, files.find((file) => file.endsWith(name))), 'utf8'));
}

/** Where it asks for a browser, sends one; the answer goes to the port where it listens. */
async function browse(line) {
  process.stderr.write(`${line}\n`);
  if (!/^https?:\S+$/.test(line)) return;
  const callback = await authorize(line);
  await visit(callback, Date.now() + patience.timeout);
}

/** It names the port a moment before it listens there; a person is never that fast. */
async function visit(url, deadline) {
  try {
    await fetch(url);
  } catch (error) {
    if (error.cause?.code !== 'ECONNREFUSED' || Date.now() > deadline) throw error;
    await setTimeout(50);
    await visit(url, deadline);
  }
}

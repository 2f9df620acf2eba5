// How a test and its client talk: one JSON object a line, commands on standard input, answers on
// standard output.

import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function receive() {
  const { value, done } = await lines.next();
  return done ? undefined : JSON.parse(value);
}

/** Says something by itself. */
export function send(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Sends a person to `url`; says where the browser was sent back to. */
export async function authorize(url) {
  send({ authorize: String(url) });
  const { callback } = await receive();
  return new URL(callback);
}

/** Does what the test says until it hangs up. */
export async function answer(commands) {
  for (let command; (command = await receive()); ) {
    try {
      send({ ok: (await commands[command.do](command)) ?? null });
    } catch (error) {
      send({ error: [error?.stack ?? error, error?.code, error?.cause].filter(Boolean).join('\n') });
    }
  }
  process.exit(0);
}

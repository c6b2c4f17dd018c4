/** Names from untrusted files in messages: on one line, and short. */

const MAX_LENGTH = 200;

/** A name in double quotes, its control characters escaped, cut after 200 characters. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > MAX_LENGTH ? `${name.slice(0, MAX_LENGTH)}...` : name);
}

/** Records with keys from untrusted files: without a prototype, so that `__proto__` is a key like any other. */

/** A record of its own entries and nothing inherited. */
export function inertRecord<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  return Object.setPrototypeOf(Object.fromEntries(entries), null);
}

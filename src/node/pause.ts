/** Waiting that a signal can end. */
import { setTimeout } from "node:timers/promises";
import { throwIfAborted } from "../core/index.ts";

/** Waits. @throws ABORTED, naming `what`, as soon as the signal fires */
export async function pause(ms: number, signal: AbortSignal | undefined, what: string): Promise<void> {
  throwIfAborted(signal, what);
  await setTimeout(ms, undefined, signal && { signal }).catch(() => undefined);
  throwIfAborted(signal, what);
}

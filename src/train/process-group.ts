/** What the loop asks of the processes of a run together, made of a communicator's collective operations. */
import type { Communicator } from "./communicator.ts";

/** Whether the flag is up in any process. All processes learn the same. */
export async function anywhere(communicator: Communicator, flag: boolean): Promise<boolean> {
  const count = Float32Array.of(flag ? 1 : 0);
  await communicator.allReduceSum(count);
  return count[0]! > 0;
}

/** The texts of all processes, by rank. */
export async function gatherTexts(communicator: Communicator, text: string): Promise<readonly string[]> {
  if (communicator.size === 1) return [text];
  const bytes = new TextEncoder().encode(text);
  const lengths = await communicator.allGather(Int32Array.of(bytes.length));
  const longest = lengths.reduce((a, b) => Math.max(a, b));
  const padded = new Int32Array(longest);
  padded.set(bytes);
  const all = await communicator.allGather(padded);
  const part = (rank: number): Int32Array => all.subarray(rank * longest, rank * longest + lengths[rank]!);
  return Array.from(lengths, (_, rank) => new TextDecoder().decode(Uint8Array.from(part(rank))));
}

/** What the loop and the trainers ask of the processes of a run together, made of a communicator's collective operations. */
import type { Communicator } from "./communicator.ts";

/** Whether the flag is up in any process. All processes learn the same. */
export async function anywhere(communicator: Communicator, flag: boolean): Promise<boolean> {
  const count = Float32Array.of(flag ? 1 : 0);
  await communicator.allReduceSum(count);
  return count[0]! > 0;
}

/** Replaces gradients, and the numbers of a record, by their sums over all processes. */
export async function sumOverProcesses(
  communicator: Communicator,
  gradients: ReadonlyMap<string, Float32Array>,
  numbers: Record<string, number>,
): Promise<void> {
  if (communicator.size === 1) return;
  for (const gradient of gradients.values()) await communicator.allReduceSum(gradient);
  const names = Object.keys(numbers);
  if (names.length === 0) return;
  const values = Float32Array.from(names, (name) => numbers[name]!);
  await communicator.allReduceSum(values);
  names.forEach((name, i) => {
    numbers[name] = values[i]!;
  });
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

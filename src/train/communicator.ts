/**
 * How the processes of a data-parallel training talk to one another. The interface is all that training knows; the
 * default is a single process, for which every exchange is the identity.
 */

/** Collective operations. Every process calls the same ones in the same order. */
export interface Communicator {
  /** This process, from 0. */
  readonly rank: number;
  /** The number of processes. */
  readonly size: number;
  /** Replaces `data` by its sum over all processes, the same bits in each of them. */
  allReduceSum(data: Float32Array): void;
  /** The arrays of all processes, one after the other in the order of ranks. All have the same length. */
  allGather<T extends Float32Array | Int32Array>(data: T): T;
  /** Rank 0's text, in every process. */
  broadcast(text: string): string;
  /** Returns when every process has called it. */
  barrier(): void;
  /** Leaves the group in good order. */
  close(): void;
}

/** One process alone. */
export const singleProcess: Communicator = {
  rank: 0,
  size: 1,
  allReduceSum: () => {},
  allGather: (data) => data,
  broadcast: (text) => text,
  barrier: () => {},
  close: () => {},
};

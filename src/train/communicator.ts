/**
 * How the processes of a data-parallel training talk to one another. The interface is all that training knows; the
 * default is a single process, for which every exchange is the identity.
 */

/** How far a run has come, for whoever must be told after a process was lost. */
export interface Milestone {
  /** The step that is being taken, from 0. */
  readonly step: number;
  /** The last complete checkpoint, if there is one. */
  readonly checkpoint?: string;
}

/**
 * Collective operations. Every process calls the same ones in the same order, and waits for one before the next. What
 * is passed in is not to be touched until the promise is settled. While a process waits, its event loop runs.
 */
export interface Communicator {
  /** This process, from 0. */
  readonly rank: number;
  /** The number of processes. */
  readonly size: number;
  /** Replaces `data` by its sum over all processes, the same bits in each of them. */
  allReduceSum(data: Float32Array): Promise<void>;
  /** The arrays of all processes, one after the other in the order of ranks. All have the same length. */
  allGather<T extends Float32Array | Int32Array>(data: T): Promise<T>;
  /** Rank 0's text, in every process. */
  broadcast(text: string): Promise<string>;
  /** Settles when every process has called it. */
  barrier(): Promise<void>;
  /** Notes, without waiting for anyone, what a message about a lost process should name. */
  mark(milestone: Milestone): void;
  /**
   * Leaves the group in good order, together with all others. A process that failed does not call it but exits with a
   * code that is not 0: the others then learn that it was lost.
   */
  close(): Promise<void>;
}

/** One process alone. */
export const singleProcess: Communicator = {
  rank: 0,
  size: 1,
  allReduceSum: async () => {},
  allGather: async (data) => data,
  broadcast: async (text) => text,
  barrier: async () => {},
  mark: () => {},
  close: async () => {},
};

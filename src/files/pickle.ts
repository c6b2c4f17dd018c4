/**
 * A reader of Python pickles, protocols 0 to 5, that runs nothing. A pickle is a program for a stack machine which in
 * Python may import and call anything; here a global is only its name, and a call is only a record of the call, except
 * for the few listed in `pickle-globals.ts` (and those its user adds), which give plain data.
 * Reference for the opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
 *
 * Dictionaries become `Map`, sets `Set`, lists and tuples arrays, bytes `Uint8Array`, integers numbers where exact and
 * otherwise bigints. A value may be shared and may contain itself, as in Python: it is never copied, so a small file
 * cannot grow. Work and memory are bounded by a budget; reading does not recurse.
 * Not here: the extension registry (EXT1-4) and out-of-band buffers, which no checkpoint uses.
 */
import { PickleMachine, type PickleOptions } from "./pickle-machine.ts";
import { STEPS, STOP } from "./pickle-opcodes.ts";

export type { PickleOptions } from "./pickle-machine.ts";
export { PickleGlobal, PickleObject, type Reducer, type ReducerTable, type Spend } from "./pickle-values.ts";

/**
 * Reads the value of a pickle.
 * @throws FILE_CORRUPT; FILE_UNSUPPORTED for opcodes left out, and for more work than a checkpoint needs.
 */
export function readPickle(bytes: Uint8Array, options: PickleOptions): unknown {
  const machine = new PickleMachine(bytes, options);
  for (;;) {
    machine.spend(1);
    const opcode = machine.input.u8();
    if (opcode === STOP) return machine.pop();
    const step = STEPS.get(opcode);
    if (step === undefined) throw machine.input.fault(`unknown opcode 0x${opcode.toString(16)}`);
    step(machine);
  }
}

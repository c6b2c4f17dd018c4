/** How fast pictures went through a model. */

/** Pictures a second of some passes, of those that were not there already; 0 where all were. */
export function rateOf(passes: readonly { readonly seconds: number; readonly encoded: number }[]): number {
  const seconds = passes.reduce((sum, pass) => sum + pass.seconds, 0);
  const encoded = passes.reduce((sum, pass) => sum + pass.encoded, 0);
  return encoded > 0 && seconds > 0 ? encoded / seconds : 0;
}

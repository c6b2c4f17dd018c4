/**
 * Seeded random numbers: xoshiro128** (Blackman and Vigna, 2018) started by splitmix32.
 * The same seed gives the same numbers on every platform; the state can be saved and restored.
 */

/** The four 32-bit words of the generator, and the spare normal deviate if one is held. */
export interface RandomState {
  readonly words: readonly [number, number, number, number];
  readonly spare: number | null;
}

/** A seeded generator. */
export class Random {
  private words: Uint32Array;
  private spare: number | null = null;

  constructor(seed: number | RandomState) {
    if (typeof seed === "number") {
      let s = seed >>> 0;
      this.words = Uint32Array.from({ length: 4 }, () => {
        s = (s + 0x9e3779b9) >>> 0;
        let x = s;
        x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
        x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
        return (x ^ (x >>> 15)) >>> 0;
      });
    } else {
      this.words = Uint32Array.from(seed.words);
      this.spare = seed.spare;
    }
  }

  get state(): RandomState {
    const [a, b, c, d] = this.words;
    return { words: [a!, b!, c!, d!], spare: this.spare };
  }

  /** A uniform integer in [0, 2^32). */
  uint32(): number {
    const w = this.words;
    const x = Math.imul(w[1]!, 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = w[1]! << 9;
    w[2]! ^= w[0]!;
    w[3]! ^= w[1]!;
    w[1]! ^= w[2]!;
    w[0]! ^= w[3]!;
    w[2]! ^= t;
    w[3] = (w[3]! << 11) | (w[3]! >>> 21);
    return result;
  }

  /** A uniform number in [0, 1) with 53 random bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992;
  }

  /** A uniform integer in [0, bound), without modulo bias. */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** A standard normal deviate (Marsaglia's polar method). */
  normal(): number {
    if (this.spare !== null) {
      const spare = this.spare;
      this.spare = null;
      return spare;
    }
    for (;;) {
      const u = 2 * this.uniform() - 1;
      const v = 2 * this.uniform() - 1;
      const s = u * u + v * v;
      if (s > 0 && s < 1) {
        const factor = Math.sqrt((-2 * Math.log(s)) / s);
        this.spare = v * factor;
        return u * factor;
      }
    }
  }

  /** A permutation of 0 to n-1 (Fisher and Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = order[i]!;
      order[i] = order[j]!;
      order[j] = held;
    }
    return order;
  }
}

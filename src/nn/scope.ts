/** Names the parameters of a model as PyTorch does: a path of modules, joined by dots. */
import type { DType } from "../core/index.ts";
import type { Graph, Tensor } from "../graph/index.ts";

/** A place in the tree of modules, where parameters are named. */
export class Scope {
  readonly graph: Graph;
  readonly prefix: string;

  constructor(graph: Graph, prefix = "") {
    this.graph = graph;
    this.prefix = prefix;
  }

  /** The scope of a submodule; an empty path is the scope itself. */
  at(path: string | number): Scope {
    return path === "" ? this : new Scope(this.graph, `${this.prefix}${path}.`);
  }

  /** A parameter of this module. */
  parameter(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.graph.parameter(`${this.prefix}${name}`, shape, dtype);
  }
}

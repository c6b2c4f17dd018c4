/**
 * A model as ONNX files that any ONNX Runtime loads with no help of ours: one file a graph, weights beside it where they
 * pass what one protobuf message holds, and a manifest that says how to feed them.
 */
import {
  type ByteSink,
  bytesOf,
  DTYPES,
  type LongCallOptions,
  sizeOf,
  throwIfAborted,
  toF32,
  viewBytes,
} from "../core/index.ts";
import { type OpenSink, writeTogether } from "../files/atomic-sink.ts";
import { type Checkpoint, readTensor, streamTensor } from "../files/checkpoint.ts";
import type { Graph } from "../graph/index.ts";
import { checkpointGraphs, type GraphName, gridOf, type ToklipConfig, traceGraph } from "../models/index.ts";
import { lowerGraph, type OnnxValue, type Placement, writeOnnx } from "../onnx/index.ts";
import { prepareGraph } from "../runtime/index.ts";

/** Above this size weights go into a file of their own: protobuf ends at 2 GiB, and many readers below that. */
const LARGEST_EMBEDDED_BYTES = 1e9;

/** ONNX Runtime maps external weights by page. */
const PAGE = 4096;

/** What to export and where to. */
export interface ExportOptions extends LongCallOptions {
  /** Graphs to write. Default: all that the checkpoint has. */
  readonly parts?: readonly GraphName[];
  readonly openSink: OpenSink;
}

interface ExportedGraph {
  readonly file: string;
  readonly data?: string;
  readonly inputs: readonly Pick<OnnxValue, "name" | "dtype" | "shape">[];
  readonly outputs: readonly Pick<OnnxValue, "name" | "dtype" | "shape">[];
  readonly parameters: number;
}

/** What a reader of the files needs to know beyond ONNX. */
export interface ExportManifest {
  readonly format: "toklip-onnx";
  readonly version: 1;
  readonly config: unknown;
  readonly preprocess: {
    readonly size: number;
    readonly resize: "shortest" | "squash";
    readonly interpolation: "bicubic";
    readonly mean: number;
    readonly std: number;
    readonly layout: "NCHW RGB";
  };
  readonly ids?: { readonly grid: readonly [number, number]; readonly codebookSize: number };
  readonly text: { readonly contextLength: number; readonly vocabSize: number; readonly padId: 0 };
  readonly graphs: Readonly<Record<string, ExportedGraph>>;
}

function graphBytes(graph: Graph): number {
  return [...graph.parameters.values()].reduce(
    (sum, { shape }) => sum + sizeOf(shape as number[]) * DTYPES.f32.bytes,
    0,
  );
}

/** All weights of a graph in memory, as f32. */
async function embedded(graph: Graph, checkpoint: Checkpoint): Promise<Map<string, Placement>> {
  const placements = new Map<string, Placement>();
  for (const name of graph.parameters.keys()) {
    const { dtype, shape, data } = await readTensor(checkpoint.tensors.get(name)!);
    placements.set(name, {
      kind: "embedded",
      value: { dtype: "f32", shape, data: toF32(dtype, data) },
    });
  }
  return placements;
}

/** Streams the weights of a graph into a file, as f32, each from a page boundary. */
async function external(
  graph: Graph,
  checkpoint: Checkpoint,
  location: string,
  sink: ByteSink,
  { signal, onProgress }: LongCallOptions,
) {
  const placements = new Map<string, Placement>();
  const total = graphBytes(graph);
  let offset = 0;
  for (const [name, { shape }] of graph.parameters) {
    const gap = (PAGE - (offset % PAGE)) % PAGE;
    if (gap > 0) await sink.write(new Uint8Array(gap));
    const length = sizeOf(shape as number[]) * DTYPES.f32.bytes;
    placements.set(name, { kind: "external", dtype: "f32", data: { location, offset: offset + gap, length } });
    const entry = checkpoint.tensors.get(name)!;
    for await (const piece of streamTensor(entry)) {
      throwIfAborted(signal, "export");
      await sink.write(bytesOf(toF32(entry.dtype, viewBytes(entry.dtype, piece))));
    }
    offset += gap + length;
    onProgress?.({ stage: "export", item: location, done: offset, total, unit: "bytes" });
  }
  return placements;
}

function describe({ name, dtype, shape }: OnnxValue) {
  return { name, dtype, shape };
}

/** One graph to write, and the names of its files. */
interface Plan {
  readonly name: GraphName;
  readonly graph: Graph;
  readonly file: string;
  /** The file of its weights, where they do not go into the model's own. */
  readonly data: string | undefined;
}

function planOf(name: GraphName, config: ToklipConfig): Plan {
  const graph = prepareGraph(traceGraph(name, config));
  const file = `${name}.onnx`;
  return { name, graph, file, data: graphBytes(graph) > LARGEST_EMBEDDED_BYTES ? `${file}.data` : undefined };
}

/** Writes one graph, and says what is in it. */
async function writeGraph(
  { name, graph, file, data }: Plan,
  checkpoint: Checkpoint,
  sinks: ReadonlyMap<string, ByteSink>,
  options: LongCallOptions,
): Promise<ExportedGraph> {
  throwIfAborted(options.signal, "export");
  const placements = data
    ? await external(graph, checkpoint, data, sinks.get(data)!, options)
    : await embedded(graph, checkpoint);
  const model = lowerGraph(graph, name, (parameter) => placements.get(parameter)!);
  await sinks.get(file)!.write(writeOnnx(model));
  options.onProgress?.({ stage: "export", item: file, done: 1, total: 1, unit: "files" });
  return {
    file,
    ...(data && { data }),
    inputs: model.inputs.map(describe),
    outputs: model.outputs.map(describe),
    parameters: graphBytes(graph) / DTYPES.f32.bytes,
  };
}

const MANIFEST = "manifest.json";

/**
 * Writes the ONNX files and `manifest.json`, all or none.
 * @returns the names of the files
 * @throws FILE_WRITE_FAILED, FILE_CORRUPT, ABORTED
 */
export async function exportModel(
  checkpoint: Checkpoint,
  config: ToklipConfig,
  { parts, openSink, ...options }: ExportOptions,
): Promise<{ readonly files: readonly string[] }> {
  const names = parts ?? checkpointGraphs(checkpoint, config);
  const plans = names.map((name) => planOf(name, config));
  const files = [...plans.flatMap(({ file, data }) => (data ? [data, file] : [file])), MANIFEST];
  await writeTogether(openSink, files, async (opened) => {
    const sinks = new Map(files.map((file, i) => [file, opened[i]!]));
    const graphs: Record<string, ExportedGraph> = {};
    for (const plan of plans) graphs[plan.name] = await writeGraph(plan, checkpoint, sinks, options);
    const manifest = `${JSON.stringify(manifestOf(config, graphs), null, 2)}\n`;
    await sinks.get(MANIFEST)!.write(new TextEncoder().encode(manifest));
  });
  return { files };
}

function manifestOf(config: ToklipConfig, graphs: Readonly<Record<string, ExportedGraph>>): ExportManifest {
  const { side } = gridOf(config.trunk);
  return {
    format: "toklip-onnx",
    version: 1,
    config: config.source,
    preprocess: {
      size: config.trunk.imageSize,
      resize: config.preprocess.resize,
      interpolation: "bicubic",
      mean: 0.5,
      std: 0.5,
      layout: "NCHW RGB",
    },
    ...(config.vq && { ids: { grid: [side, side], codebookSize: config.vq.codebookSize } }),
    text: { contextLength: config.text.contextLength, vocabSize: config.text.vocabSize, padId: 0 },
    graphs,
  };
}

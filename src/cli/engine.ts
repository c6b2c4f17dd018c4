/** The real parts behind the verbs. Each is imported when it is first called: `toklip --help` loads none. */
import type { Engine } from "./context.ts";

/** How the names of a part's tensors begin. */
const PART_PREFIXES = { vq: "visual.trunk.vq.", image: "visual.", text: "text." } as const;

/** Node's engine: ONNX Runtime, sharp, the hub's cache. */
export const nodeEngine: Engine = {
  async loadModel(source, options) {
    const { TokLIP } = await import("../node/toklip.ts");
    return TokLIP.load(source, options);
  },
  async loadGenerator(source, options) {
    const { openPictureGenerator } = await import("../node/picture-generator.ts");
    return openPictureGenerator(source, options);
  },
  async loadUnified(source, options) {
    const { Unified } = await import("../node/unified.ts");
    return Unified.load(source, options);
  },
  async encodeCaptions(texts, options) {
    const { encodeCaptionTexts } = await import("../node/caption-encoder.ts");
    return encodeCaptionTexts(texts, options);
  },
  async locate(source, options) {
    const { nodePlatform } = await import("../node/platform.ts");
    return nodePlatform.locate(source, options);
  },
  async openCheckpoint(path) {
    const { openCheckpointFile } = await import("../node/checkpoint.ts");
    return openCheckpointFile(path);
  },
  async findConfig(path, checkpoint, asked) {
    const [{ nodePlatform }, { findConfig }] = await Promise.all([
      import("../node/platform.ts"),
      import("../pipelines/model-files.ts"),
    ]);
    return findConfig(nodePlatform, path, checkpoint, asked);
  },
  async findGptConfig(path, checkpoint, asked) {
    const { findGptConfig, isGptCheckpoint } = await import("../pipelines/gpt-files.ts");
    if (!isGptCheckpoint(checkpoint)) return undefined;
    const { nodePlatform } = await import("../node/platform.ts");
    return findGptConfig(nodePlatform, path, checkpoint, asked === undefined ? {} : { config: asked });
  },
  async findArConfig(path, checkpoint, asked) {
    const { findArConfig, holdsUnified } = await import("../pipelines/ar-files.ts");
    if (!holdsUnified(checkpoint)) return undefined;
    const [{ nodePlatform }, { checkArCheckpoint }] = await Promise.all([
      import("../node/platform.ts"),
      import("../models/ar-checkpoint.ts"),
    ]);
    const config = await findArConfig(nodePlatform, path, checkpoint, asked);
    checkArCheckpoint(checkpoint, config);
    return config;
  },
  async convert({ source, out, only, ...options }) {
    const { convertFile } = await import("../node/convert.ts");
    return convertFile(source, out, {
      ...options,
      ...(only && { filter: ({ name }) => name.startsWith(PART_PREFIXES[only]) }),
    });
  },
  async exportOnnx({ source, download, ...options }) {
    const path = await nodeEngine.locate(source, { ...options, download });
    const { exportOnnx } = await import("../node/export.ts");
    return exportOnnx(path, options);
  },
  async initCheckpoint(request) {
    const { initCheckpoint } = await import("../node/init.ts");
    return initCheckpoint(request);
  },
  async encodePng(image) {
    const { encodePng } = await import("../node/image.ts");
    return encodePng(image);
  },
  async train(options) {
    const { train } = await import("../node/train.ts");
    return train(options);
  },
  async estimateTraining(options) {
    const { estimateRun } = await import("../node/train-estimate.ts");
    return estimateRun(options);
  },
  async openEvaluation(options) {
    const { openEvaluationSession } = await import("../node/evaluation-session.ts");
    return openEvaluationSession(options);
  },
  async exportRun(options) {
    const { exportRun } = await import("../node/train-export.ts");
    return exportRun(options);
  },
};

/**
 * `toklip/node/evaluation`: evaluations in Node. Apart from `toklip/node`, so that using a model does not load it.
 *
 * @example
 * import { evaluateZeroshot, parseLabels } from "toklip/evaluation";
 * import { openEvaluationSession } from "toklip/node/evaluation";
 * const session = await openEvaluationSession({ model: "TokLIP_S_256.pt" });
 * const options = { labels: parseLabels("cat\ndog", "labels"), templates: ["a photo of {}"] };
 * const { metrics } = await evaluateZeroshot(session, await session.openData("photos"), options);
 */
export { openEvaluationSession } from "./evaluation-session.ts";

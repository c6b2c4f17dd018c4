/** `toklip` on the fake model, as a process of its own: joined to the process as `src/cli/main.ts` joins the real one. */
import { nodeEngine } from "../../src/cli/engine.ts";
import { start } from "../../src/cli/process.ts";
import { fakeModel } from "../pipelines/fake-model.ts";

await start({
  ...nodeEngine,
  loadModel: async () => fakeModel({ runMs: 15 }),
  /** Work that does not hear of an interruption. */
  locate: () => {
    process.stderr.write("locating\n");
    return new Promise((resolve) => setTimeout(resolve, 20_000, "never"));
  },
});

// The kernels that a pair needs, built before its first answer: a pass over a short input, and where it pays one over a longer one.

/** Lengths of the passes. Kernels are chosen by size; the CPU engine has none to build, and on a software adapter the passes take longer than they save. */
const lengths = (hardware, short, long, most) => [...new Set((hardware ? [short, long] : [short]).map((length) => Math.min(length, most ?? length)))];

/** What runs once for each model of a kind: {of: the lengths, run: a pass at one}. */
const passes = {
  text: {
    of: (hardware, { max_length: most }) => lengths(hardware, 32, 256, most),
    run: (engine, side, length) => engine.measure(side, length, 1),
  },
  language: {
    of: (hardware, { max_length: most }) => lengths(hardware, 32, 256, most),
    async run(engine, side, length) {
      await engine.hold(side, length, true);
      await engine.decode(side, length, 2);
      engine.release();
    },
  },
  speech: {
    of: (hardware, { max_seconds: most }) => lengths(hardware, 1, 3, Math.floor(most)),
    run: (engine, side, length) => engine.measure(side, length, 1),
  },
};

/**
 * Builds what the models `facts` ({transformer, linear}) need; `hardware` says whether a GPU runs them, `report(done, total)` hears
 * of every pass.
 */
export async function warmUp(engine, hardware, facts, report) {
  const steps = Object.entries(facts).flatMap(([side, of]) => {
    const { of: lengthsOf, run } = passes[of.kind];
    return lengthsOf(hardware, of).map((length) => () => run(engine, side, length));
  });
  for (const [done, step] of steps.entries()) {
    report(done, steps.length);
    await step();
  }
  report(steps.length, steps.length);
}

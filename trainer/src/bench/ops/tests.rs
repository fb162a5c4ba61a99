use super::operator::{Argument, Given, MODELS, ModelShape, Operator, Results, Size, Work, row};
use super::*;
use burn::tensor::Tensor;

/// Squares, or what it takes for squares.
struct Fake {
    result: f64,
    gradient: bool,
}

impl Operator for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn applies(&self, _: &ModelShape) -> bool {
        true
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        vec![Argument::new("x", [size.batch, size.len])]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let x: Tensor<2> = given.take();
        // The right value with the wrong gradient: that of one factor only.
        let other = if self.gradient {
            x.clone()
        } else {
            x.clone().detach()
        };
        row(x * other * self.result)
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        row(given.take::<2>().square())
    }

    fn forward(&self, size: &Size) -> Work {
        Work::new(2.0 * size.rows(), size.rows())
    }

    fn backward(&self, size: &Size) -> Option<Work> {
        Some(Work::new(3.0 * size.rows(), 2.0 * size.rows()))
    }
}

static RIGHT: Fake = Fake {
    result: 1.0,
    gradient: true,
};
static WRONG: Fake = Fake {
    result: 1.001,
    gradient: true,
};
static WRONG_GRADIENT: Fake = Fake {
    result: 1.0,
    gradient: false,
};

fn plan(operators: Vec<&'static dyn Operator>) -> Plan {
    Plan {
        operators,
        models: vec![&MODELS[3]],
        lengths: vec![8, 33],
        batch: 2,
        runs: 2,
        budget_s: 1.0,
        reference_bytes: 1e9,
        check_flops: 1e9,
        quick: true,
    }
}

#[test]
fn a_wrong_operator_is_not_timed() {
    let device = Device::flex();
    for (wrong, what) in [
        (&WRONG, "the result"),
        (&WRONG_GRADIENT, "the gradient of x"),
    ] {
        let mut heard = 0;
        let plan = plan(vec![wrong, &RIGHT]);
        let report = sweep(&plan, &device, |points, _| heard += points.len()).unwrap();
        let error = &report.failed[0].reason;
        assert!(error.contains("fake") && error.contains(what), "{error}");
        // The other one is timed all the same.
        assert_eq!((report.failed.len(), report.points.len(), heard), (1, 4, 4));
    }
    let report = sweep(&plan(vec![&RIGHT]), &device, |_, _| ()).unwrap();
    assert_eq!((report.points.len(), report.series.len()), (4, 2));
}

#[test]
fn every_operator_agrees_with_its_plain_form_and_counts_its_work() {
    let device = Device::flex();
    let size = Size {
        model: &MODELS[3],
        batch: 2,
        len: 21,
    };
    for operator in ALL {
        assert!(operator.applies(size.model), "{}", operator.name());
        check(operator, size, &device).unwrap();
        // The least that can be moved: every argument and the result once.
        let arguments: usize = operator.arguments(&size).iter().map(Argument::values).sum();
        let result = Problem::new(operator, size, &device)
            .forward(Form::Fused)
            .dims()[0];
        let bytes = 4.0 * (arguments + result) as f64;
        let name = operator.name();
        let least = bytes + 4.0 * operator.next_state(&size) as f64;
        assert_eq!(operator.forward(&size).bytes, least, "{name}");
        if let Some(backward) = operator.backward(&size) {
            assert!(backward.bytes >= bytes, "{name}");
        }
        assert!(operator.reference_bytes(&size) > 0.0);
    }
}

#[test]
fn a_plain_form_that_does_not_fit_is_left_out_with_a_reason() {
    let mut plan = plan(vec![&RIGHT]);
    plan.reference_bytes = 1.0;
    let report = sweep(&plan, &Device::flex(), |_, _| ()).unwrap();
    for point in &report.points {
        assert_eq!((point.ratio, point.reference_ms), (None, None));
        assert!(point.ratio_reason.as_ref().unwrap().contains("MiB"));
    }
    assert!(report.series.iter().all(|s| s.ratio_length.is_none()));
}

#[test]
fn lengths_beyond_the_budget_are_named() {
    let mut plan = plan(vec![&RIGHT]);
    plan.budget_s = 0.0;
    let report = sweep(&plan, &Device::flex(), |_, _| ()).unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(report.skipped[0].length, 33);
}

#[test]
fn slopes_come_from_the_long_lengths() {
    let points: Vec<Point> = [512usize, 1024, 4096, 16_384]
        .map(|length| {
            let timing = Timing {
                // Flat below 1,024, then as L^1.5.
                median_ms: (length.max(1024) as f64).powf(1.5),
                p10_ms: 0.0,
                p90_ms: 0.0,
                runs: 1,
                reference: if length < 4096 {
                    Ok(1e6)
                } else {
                    Err("no".into())
                },
            };
            let size = Size {
                model: &MODELS[0],
                batch: 1,
                len: length,
            };
            let rates = Rates {
                copy_gb_s: 10.0,
                matmul_gflop_s: 10.0,
            };
            timing.point(
                &RIGHT,
                &size,
                Pass::Forward,
                Work::new(1e6, 1e6),
                &rates,
                512,
            )
        })
        .into();
    let series = series(&points);
    assert_eq!(series.len(), 1);
    assert!((series[0].slope.unwrap() - 1.5).abs() < 1e-9);
    assert_eq!(series[0].ratio_length, Some(1024));
    assert!((points[0].gb_s - 4e6 / 32_768.0 / 1e6).abs() < 1e-12);
    assert!((points[0].copy_fraction - points[0].gb_s / 10.0).abs() < 1e-12);
}

/// Right on the CPU, off by a thousandth on a GPU.
struct WrongThere;

impl Operator for WrongThere {
    fn name(&self) -> &'static str {
        "wrong_there"
    }

    fn applies(&self, _: &ModelShape) -> bool {
        true
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        RIGHT.arguments(size)
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let x: Tensor<2> = given.take();
        let off = if is_gpu(&x.device()) { 1.001 } else { 1.0 };
        let mut results = row(x.clone().square());
        // The result is right: only the state that it leaves is not.
        results = results.and(x * off);
        assert_eq!(results.result.dims()[0], size.batch * size.len);
        results
    }

    fn reference(&self, size: &Size, given: Given) -> Results {
        RIGHT.reference(size, given)
    }

    fn forward(&self, size: &Size) -> Work {
        RIGHT.forward(size)
    }

    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}

/// Panics beyond ten positions: itself, or else its plain form.
struct Breaks {
    itself: bool,
}

impl Operator for Breaks {
    fn name(&self) -> &'static str {
        "breaks"
    }

    fn applies(&self, _: &ModelShape) -> bool {
        true
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        RIGHT.arguments(size)
    }

    fn run(&self, size: &Size, given: Given) -> Results {
        assert!(!self.itself || size.len < 10, "no room for {}", size.len);
        RIGHT.run(size, given)
    }

    fn reference(&self, size: &Size, given: Given) -> Results {
        assert!(self.itself || size.len < 10, "no room for {}", size.len);
        RIGHT.reference(size, given)
    }

    fn forward(&self, size: &Size) -> Work {
        RIGHT.forward(size)
    }

    fn backward(&self, size: &Size) -> Option<Work> {
        RIGHT.backward(size)
    }
}

#[test]
fn on_a_gpu_the_state_is_held_against_the_cpu_twin() {
    let (device, _) = match crate::select_device(crate::config::DeviceChoice::Gpu) {
        Ok(found) => found,
        Err(error) if std::env::var_os("CALDERA_WITHOUT_GPU").is_some() => {
            eprintln!("no GPU: {error:#}");
            return;
        }
        Err(error) => panic!("{error:#}"),
    };
    let size = Size {
        model: &MODELS[3],
        batch: 2,
        len: 21,
    };
    let error = check(&WrongThere, size, &device).unwrap_err().to_string();
    assert!(
        error.contains("the state") && error.contains("CPU twin"),
        "{error}"
    );
    check(&RIGHT, size, &device).unwrap();
}

#[test]
fn an_operator_that_panics_leaves_its_other_figures_and_all_of_the_others() {
    let plan = plan(vec![&Breaks { itself: true }, &RIGHT]);
    let mut last = 0;
    let report = sweep(&plan, &Device::flex(), |points, so_far| {
        assert!(so_far.points.ends_with(points));
        last = so_far.points.len();
    })
    .unwrap();
    assert_eq!((report.points.len(), last), (6, 6));
    let reason = &report.failed[0].reason;
    assert!(reason.contains("no room for 33"), "{reason}");
}

#[test]
fn a_plain_form_that_fails_leaves_the_operator_its_figures() {
    let mut plan = plan(vec![&Breaks { itself: false }]);
    // The check at the longer length would need the plain form.
    plan.check_flops = 1.0;
    let report = sweep(&plan, &Device::flex(), |_, _| ()).unwrap();
    assert_eq!((report.points.len(), report.failed.len()), (4, 0));
    for point in &report.points {
        let failed = point.ratio_reason.as_deref();
        assert_eq!(point.ratio.is_some(), point.length < 10);
        assert!(point.length < 10 || failed.is_some_and(|why| why.contains("no room for 33")));
    }
}

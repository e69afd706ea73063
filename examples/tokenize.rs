//! Encodes texts as content with the tokenizer of a GGUF file, for comparison with other programs:
//! reads a JSON list of texts and writes a JSON list of lists of ids.

use std::{env, fs::File, io, io::Read, time::Instant};

use outcrop::{chat::Tokenizer, format::gguf::GgufHeader};

/// More than the header of any checkpoint has.
const HEADER_BYTES_MAX: u64 = 96 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = env::args().nth(1).ok_or("usage: tokenize FILE.gguf < texts.json > ids.json")?;
    let mut prefix = Vec::new();
    File::open(path)?.take(HEADER_BYTES_MAX).read_to_end(&mut prefix)?;
    // The file may be a header alone; where its tensors would lie does not matter here.
    let header = GgufHeader::parse(&prefix, u64::MAX)?;
    let tokenizer = Tokenizer::from_gguf(&header.metadata)?;
    let texts: Vec<String> = serde_json::from_reader(io::stdin().lock())?;
    let started = Instant::now();
    let ids = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{bytes} bytes in {seconds:.2} s: {:.2} MB/s", bytes as f64 / seconds / 1e6);
    serde_json::to_writer(io::stdout().lock(), &ids)?;
    Ok(())
}

use super::{EntityKind, EntitySet, live_from, scan};
use crate::guardrail::fold::Folded;

fn all() -> EntitySet {
    EntityKind::ALL.iter().copied().collect()
}

#[test]
fn zz_dev() {
    use std::collections::BTreeMap;
    for file in [
        "pii_bedrock_en_gen",
        "pii_zh_gen",
        "pii_evasion_gen",
        "pii_presidio_v2",
        "pii_presidio_large",
        "stream_pii_gen",
        "benign_alpaca_en",
        "benign_alpacagpt4_zh",
        "benign_wildguard",
    ] {
        let Ok(s) = std::fs::read_to_string(format!("/tmp/g/{file}.jsonl")) else { continue };
        let mut per: BTreeMap<String, [usize; 4]> = BTreeMap::new();
        let mut bad = vec![];
        let (mut neg, mut negbad) = (0, 0);
        for l in s.lines() {
            let v: serde_json::Value = serde_json::from_str(l).unwrap();
            let text = v["text"].as_str().unwrap();
            let chars: Vec<usize> =
                text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
            let mut gold: Vec<(String, std::ops::Range<usize>, bool)> = v["label"]
                .as_array()
                .map(|a| {
                    a.iter()
                        .map(|x| {
                            let t = x[0].as_str().unwrap();
                            let t = match t {
                                "PHONE_NUMBER" => "PHONE",
                                "CREDIT_CARD" => "CREDIT_DEBIT_CARD_NUMBER",
                                "US_SSN" => "US_SOCIAL_SECURITY_NUMBER",
                                "IBAN_CODE" => "INTERNATIONAL_BANK_ACCOUNT_NUMBER",
                                "US_DRIVER_LICENSE" => "DRIVER_ID",
                                "EMAIL_ADDRESS" => "EMAIL",
                                "DOMAIN_NAME" => "URL",
                                t => t,
                            };
                            (
                                t.to_owned(),
                                chars[x[1].as_u64().unwrap() as usize]
                                    ..chars[x[2].as_u64().unwrap() as usize],
                                false,
                            )
                        })
                        .collect()
                })
                .unwrap_or_default();
            let f = Folded::plain(text);
            let hits = scan(f.text(), 0, all());
            if gold.is_empty() {
                neg += 1;
                if !hits.is_empty() {
                    negbad += 1;
                    if bad.len() < 60 {
                        bad.push(format!(
                            "NEG {text:.150} {:?}",
                            hits.iter()
                                .map(|h| (h.kind, &f.text()[h.range.clone()]))
                                .collect::<Vec<_>>()
                        ));
                    }
                }
            }
            for h in hits {
                let r = f.original_range(h.range.clone());
                let name = h.kind.name().to_owned();
                let e = per.entry(name.clone()).or_default();
                let m = gold.iter_mut().find(|g| g.0 == name && g.1 == r && !g.2);
                if let Some(m) = m {
                    m.2 = true;
                    e[0] += 1;
                } else if let Some(m) = gold
                    .iter_mut()
                    .find(|g| g.0 == name && !g.2 && g.1.start < r.end && r.start < g.1.end)
                {
                    m.2 = true;
                    e[0] += 1;
                    e[3] += 1;
                    bad.push(format!("SPAN {name} {:?} want {:?}", &text[r], &text[m.1.clone()]));
                } else {
                    e[1] += 1;
                    if !gold.is_empty() {
                        bad.push(format!("FP {name} {:?} in {text:?}", &text[r]));
                    }
                }
            }
            for g in &gold {
                if !g.2 {
                    let e = per.entry(g.0.clone()).or_default();
                    e[2] += 1;
                    if EntityKind::from_name(&g.0).is_some() && g.0 != "NAME" && g.0 != "ADDRESS" {
                        bad.push(format!("FN {} {:?} in {text:?}", g.0, &text[g.1.clone()]));
                    }
                }
            }
        }
        println!("=== {file} neg {negbad}/{neg}");
        for (k, [tp, fp, fnn, sp]) in per {
            println!("  {k} tp {tp} (span {sp}) fp {fp} fn {fnn}");
        }
        for b in bad.iter().take(45) {
            println!("     {b:.260}");
        }
    }
}

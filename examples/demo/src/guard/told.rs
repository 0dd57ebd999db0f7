//! What is said of the guard: its finding, a table, a sentence, and JSON.

use comfy_table::Table;
use serde::Serialize;

use super::{Pays, Sale, TICKETS};
use crate::{
    numbers::{milliseconds, thousands},
    payments::TAKES,
    report::{in_columns, wrapped},
};

/// What happened, and what the guard said of it.
pub(crate) fn explain(sales: &[Sale]) -> String {
    let mut paragraphs = vec![wrapped(&format!(
        "guard: a handler takes a seat and has the card charged by a provider that takes {} ms, in one transaction, as many \
         do. Mended, it asks before, and captures the money by `tx.after_commit`. What the guard found, which nobody told of \
         that client:",
        TAKES.as_millis(),
    ))];
    paragraphs.extend(sales.iter().flat_map(|sale| &sale.findings).map(ToString::to_string));
    paragraphs.push(table(sales));
    paragraphs.extend(compared(sales).map(|text| wrapped(&text)));
    paragraphs.join("\n\n")
}

/// What the guard should have said and didn't, or the other way round, loudly.
pub(crate) fn violations(sales: &[Sale]) -> Vec<String> {
    let of = |sale: &Sale| match sale.pays {
        Pays::Inside => "THE GUARD MISSED a transaction that waited for the payment provider",
        Pays::Outside => {
            "THE GUARD FOUND SOMETHING in a transaction that used nothing but its database"
        }
    };
    sales.iter().filter(|sale| !sale.is_as_promised()).map(of).map(str::to_owned).collect()
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers {
    pays: &'static str,
    sold: u32,
    /// Their codes.
    findings: Vec<String>,
    others_p50_ms: f64,
    others_max_ms: f64,
}

impl Numbers {
    pub(crate) fn of(sale: &Sale) -> Self {
        Self {
            pays: match sale.pays {
                Pays::Inside => "inside",
                Pays::Outside => "outside",
            },
            sold: TICKETS,
            findings: sale.findings.iter().map(|found| found.code.to_string()).collect(),
            others_p50_ms: sale.others.percentile_ms(50.0),
            others_max_ms: sale.others.percentile_ms(100.0),
        }
    }
}

fn table(sales: &[Sale]) -> String {
    let mut table = Table::new();
    table.set_header([
        "card\ncharged",
        "tickets\nsold",
        "findings",
        "others wait\np50 (ms)",
        "\nmax (ms)",
    ]);
    for numbers in sales.iter().map(Numbers::of) {
        table.add_row([
            numbers.pays.to_owned(),
            thousands(numbers.sold.into()),
            if numbers.findings.is_empty() {
                "none".to_owned()
            } else {
                numbers.findings.join(", ")
            },
            milliseconds(numbers.others_p50_ms),
            milliseconds(numbers.others_max_ms),
        ]);
    }
    in_columns(table)
}

/// What others gained.
fn compared(sales: &[Sale]) -> Option<String> {
    let p50 = |pays| {
        let sale = sales.iter().find(|sale| sale.pays == pays)?;
        Some(sale.others.percentile_ms(50.0))
    };
    let (inside, outside) = (p50(Pays::Inside)?, p50(Pays::Outside)?);
    Some(format!(
        "Another handler wants the same row just when the provider is asked. While the card is charged inside, it waits \
         {} ms (p50), as long as the row is locked; for the mended handler {} ms, {:.0} times less.",
        milliseconds(inside),
        milliseconds(outside),
        inside / outside,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Latencies;
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };
    use txsafe_diesel::guard::{Policy, Rehearsal, external_io};

    /// A sale in which the guard found a call that is marked, and no wait.
    async fn with_a_call(pays: Pays) -> Sale {
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&told);
        let policy =
            Policy::production().on_finding(move |found| note.lock().unwrap().push(found.clone()));
        let stage = Rehearsal::new(policy).unwrap();
        stage.transaction("sell_ticket", external_io("pay", async {})).await;
        let findings = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(findings.len(), 1);
        Sale { findings, ..without(pays, 1) }
    }

    fn without(pays: Pays, wait_ms: u64) -> Sale {
        let mut others = Latencies::new();
        others.record(Duration::from_millis(wait_ms));
        Sale { pays, findings: Vec::new(), others }
    }

    #[tokio::test]
    async fn one_handler_must_be_found_waiting_and_the_other_nothing() {
        let calls = [with_a_call(Pays::Inside).await, with_a_call(Pays::Outside).await];
        let told = violations(&calls);
        assert!(told[0].contains("MISSED") && told[1].contains("FOUND SOMETHING"), "{told:?}");
        let nothing = [without(Pays::Inside, 50), without(Pays::Outside, 2)];
        assert_eq!(violations(&nothing).len(), 1, "of the second, that is as it must be");
        assert!(explain(&nothing).ends_with("for the mended handler 2.0 ms, 25 times less."));
    }
}

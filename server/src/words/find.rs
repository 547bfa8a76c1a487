//! Where the words of a query are in a text.

use std::{collections::HashMap, ops::ControlFlow};

use super::{
    Language, Pattern, Step, Term,
    language::{Analyzer, Form},
    split::{Kind, split},
};

/// A word that was found, bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub start: usize,
    pub end: usize,
    /// The index of the term.
    pub term: usize,
}

/// The words of terms in a text of the language, in order. Where a phrase is, every word of it that has a
/// lexeme is found. A compound and its parts can both be found, one inside the other. The time grows with the length of
/// the text times the number of words of the phrases.
pub(crate) fn find(text: &str, language: Language, terms: &[Term]) -> Vec<Found> {
    let mut wanted = Wanted::default();
    for (index, term) in terms.iter().enumerate() {
        wanted.add(index, &term.pattern);
    }
    let mut found = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let analyzer = Analyzer::new(language);
    let mut seen = HashMap::<&str, Option<usize>>::new();
    let mut suffixed = None;
    let _ = split(text, |token| {
        let is_whole = matches!(token.kind, Kind::Whole | Kind::Suffixed);
        let word = &text[token.start..token.end];
        let is_dropped = token.kind == Kind::Contraction && analyzer.drops_contractions();
        let lexeme = if is_dropped {
            None
        } else {
            *seen.entry(word).or_insert_with(|| {
                match if is_whole { analyzer.whole(word) } else { analyzer.word(word) } {
                    Form::Lexeme(form) | Form::Cut(form) => wanted.lexemes.get(&form).copied(),
                    Form::StopWord => None,
                }
            })
        };
        if let Some(lexeme) = lexeme {
            let of_term = |term: &usize| Found { start: token.start, end: token.end, term: *term };
            found.extend(wanted.words[lexeme].iter().map(of_term));
        }
        match token.kind {
            Kind::Whole => {}
            Kind::Suffixed => suffixed = lexeme.map(|lexeme| (lexeme, token.end)),
            _ => {
                let whole = suffixed.take();
                places.push(Place { start: token.start, end: token.end, lexeme, whole });
            }
        }
        ControlFlow::Continue(())
    });
    for (term, steps) in &wanted.phrases {
        phrase(&places, steps, *term, &mut found);
    }
    found.sort_unstable();
    found
}

/// What is looked for. Lexemes have numbers.
#[derive(Default)]
struct Wanted {
    lexemes: HashMap<String, usize>,
    /// The terms that are words, by lexeme.
    words: Vec<Vec<usize>>,
    /// Terms that are phrases.
    phrases: Vec<(usize, Vec<NumberedStep>)>,
}

/// [`Step`] with the numbers of its lexemes.
struct NumberedStep {
    distance: usize,
    any: Vec<usize>,
}

impl Wanted {
    fn add(&mut self, term: usize, pattern: &Pattern) {
        match pattern {
            Pattern::Word(any) => {
                for lexeme in any {
                    let number = self.number(lexeme);
                    self.words[number].push(term);
                }
            }
            Pattern::Phrase(steps) => {
                let steps = steps.iter().map(|Step { distance, any }| NumberedStep {
                    distance: usize::from(*distance),
                    any: any.iter().map(|lexeme| self.number(lexeme)).collect(),
                });
                let steps = steps.collect();
                self.phrases.push((term, steps));
            }
        }
    }

    fn number(&mut self, lexeme: &str) -> usize {
        if let Some(number) = self.lexemes.get(lexeme) {
            return *number;
        }
        self.lexemes.insert(lexeme.to_owned(), self.words.len());
        self.words.push(Vec::new());
        self.words.len() - 1
    }
}

/// A position of the text.
struct Place {
    start: usize,
    end: usize,
    /// The word there, if it is looked for.
    lexeme: Option<usize>,
    /// A compound such as `C++` that begins with it, and its end.
    whole: Option<(usize, usize)>,
}

fn phrase(places: &[Place], steps: &[NumberedStep], term: usize, found: &mut Vec<Found>) {
    // Phrases can overlap themselves, so each word is noted once.
    let mut ends = vec![0; places.len()];
    for first in 0..places.len() {
        let mut at = first;
        let is_here = steps.iter().all(|step| {
            at += step.distance;
            places.get(at).is_some_and(|place| end(place, step).is_some())
        });
        if !is_here {
            continue;
        }
        at = first;
        for step in steps {
            at += step.distance;
            ends[at] = end(&places[at], step).unwrap_or(places[at].end);
        }
    }
    let here = places.iter().zip(ends).filter(|(_, end)| *end > 0);
    found.extend(here.map(|(place, end)| Found { start: place.start, end, term }));
}

/// The end of what the step looks for at a place.
fn end(place: &Place, step: &NumberedStep) -> Option<usize> {
    let whole = place.whole.filter(|(lexeme, _)| step.any.contains(lexeme)).map(|(_, end)| end);
    whole.or_else(|| place.lexeme.filter(|lexeme| step.any.contains(lexeme)).map(|_| place.end))
}

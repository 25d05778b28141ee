//! Patterns of paths: `{subject}/{session}/{input}.nii.gz`.

/// A part of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    Subject,
    Session,
    Input,
    /// Anything.
    Any,
}

/// What a path says so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) subject: Option<String>,
    pub(super) session: Option<String>,
    pub(super) input: Option<String>,
}

/// One name of a path: a folder's, or a file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component(Vec<Token>);

/// A pattern of paths below a cohort's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) components: Vec<Component>,
    /// Whether each input is a folder of PNG slices.
    pub(super) slices: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (text, slices) = text.strip_suffix("/*.png").map_or((text, false), |rest| (rest, true));
        let names: Vec<&str> = text.split('/').collect();
        if text.starts_with('/') || names.iter().any(|name| name.is_empty() || *name == "." || *name == "..")
        {
            return Err("it must be a path below the cohort's folder, without `..`".to_owned());
        }
        let components = names.into_iter().map(Component::parse).collect::<Result<Vec<_>, _>>()?;
        for (token, name) in [(Token::Subject, "{subject}"), (Token::Input, "{input}")] {
            if !components.iter().any(|component| component.0.contains(&token)) {
                return Err(format!("it has no {name}"));
            }
        }
        Ok(Self { components, slices })
    }
}

impl Component {
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['{', '*']).unwrap_or(rest.len());
            if end > 0 {
                tokens.push(Token::Literal(rest[..end].to_owned()));
                rest = &rest[end..];
            } else if let Some(after) = rest.strip_prefix('*') {
                tokens.push(Token::Any);
                rest = after;
            } else {
                let known =
                    [("{subject}", Token::Subject), ("{session}", Token::Session), ("{input}", Token::Input)];
                let found = known.iter().find_map(|(name, token)| Some((rest.strip_prefix(name)?, token)));
                let Some((after, token)) = found else {
                    return Err(format!(
                        "`{rest}` begins with none of {{subject}}, {{session}}, {{input}} and *"
                    ));
                };
                tokens.push(token.clone());
                rest = after;
            }
        }
        Ok(Self(tokens))
    }

    /// What a name adds to what is known; none if it does not fit. `inputs` are the names that `{input}` may have.
    pub(super) fn bind(&self, name: &str, known: &Bound, inputs: &[&str]) -> Option<Bound> {
        bind(&self.0, name, known, inputs)
    }

    /// The name that an input's file would have.
    pub(super) fn name(&self, known: &Bound, input: &str) -> String {
        let part = |token: &Token| match token {
            Token::Literal(text) => text.clone(),
            Token::Subject => known.subject.clone().unwrap_or_default(),
            Token::Session => known.session.clone().unwrap_or_default(),
            Token::Input => input.to_owned(),
            Token::Any => "*".to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

fn bind(tokens: &[Token], name: &str, known: &Bound, inputs: &[&str]) -> Option<Bound> {
    let Some((token, tokens)) = tokens.split_first() else {
        return name.is_empty().then(|| known.clone());
    };
    match token {
        Token::Literal(text) => bind(tokens, name.strip_prefix(text.as_str())?, known, inputs),
        Token::Any => name
            .char_indices()
            .map(|(end, _)| end)
            .chain([name.len()])
            .find_map(|end| bind(tokens, &name[end..], known, inputs)),
        Token::Input => inputs.iter().find_map(|input| {
            let rest = name.strip_prefix(input)?;
            let agrees = known.input.as_deref().is_none_or(|other| other == *input);
            let known = Bound { input: Some((*input).to_owned()), ..known.clone() };
            agrees.then(|| bind(tokens, rest, &known, inputs)).flatten()
        }),
        Token::Subject | Token::Session => {
            let longest = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            (1..=longest).rev().find_map(|end| {
                let mut known = known.clone();
                let place = if *token == Token::Subject { &mut known.subject } else { &mut known.session };
                let value = &name[..end];
                let agrees = place.as_deref().is_none_or(|other| other == value);
                *place = Some(value.to_owned());
                agrees.then(|| bind(tokens, &name[end..], &known, inputs)).flatten()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [&str; 2] = ["t1", "t1gd"];

    fn read(pattern: &str, name: &str) -> Option<(String, String, String)> {
        let component = Component::parse(pattern).unwrap();
        let bound = component.bind(name, &Bound::default(), &INPUTS)?;
        let text = |part: Option<String>| part.unwrap_or_default();
        Some((text(bound.subject), text(bound.session), text(bound.input)))
    }

    #[test]
    fn a_name_gives_subject_session_and_input() {
        let parts = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        let brats = "BraTS-MET-{subject}-{session}-{input}.nii.gz";
        assert_eq!(read(brats, "BraTS-MET-00001-000-t1.nii.gz"), parts("00001", "000", "t1"));
        assert_eq!(read(brats, "BraTS-MET-00001-t1.nii.gz"), None);
        assert_eq!(read("{input}.nii", "t1gd.nii"), parts("", "", "t1gd"));
        assert_eq!(read("p{subject}v{session}", "p12v3"), parts("12", "3", ""));
        assert_eq!(read("{subject}_{subject}_{input}", "a_b_t1"), None);
        assert_eq!(read("x*_{subject}", "x_y_01"), parts("01", "", ""));
        assert_eq!(read("{subject}", "a_b"), None);
    }

    #[test]
    fn a_pattern_that_finds_nothing_or_leaves_the_folder_is_refused() {
        assert!(Pattern::parse("{subject}/{input}/*.png").unwrap().slices);
        for text in
            ["/data/{subject}/{input}", "../{subject}/{input}", "{subject}/a", "{input}", "{case}/{input}"]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}

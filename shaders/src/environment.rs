//! Choices that variables of the environment force, and what becomes of a name that is none of them.

use crate::linear::Product;
use crate::simd::Simd;
use crate::tuning::Tuning;

/// A variable of the environment names what there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} is `{found}`, expected {expected}; unset it to leave the choice to the program"
)]
pub struct UnknownChoice {
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub found: String,
    /// What it may name.
    pub expected: String,
}

/// What `variable` names among `choices`; nothing where it is unset or empty.
pub(crate) fn chosen<T: Copy>(
    variable: &'static str,
    choices: &[(&str, T)],
) -> Result<Option<T>, UnknownChoice> {
    let value = std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned());
    choose(variable, value.as_deref().unwrap_or(""), choices)
}

fn choose<T: Copy>(
    variable: &'static str,
    value: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>, UnknownChoice> {
    if value.is_empty() {
        return Ok(None);
    }
    match choices.iter().find(|(name, _)| *name == value) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => Err(UnknownChoice {
            variable,
            found: value.to_owned(),
            expected: choices
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(" or "),
        }),
    }
}

/// Checks the variables that this crate reads. A program calls it before it computes anything: a kernel, which has nobody to tell, takes
/// an unknown name for none.
///
/// # Errors
/// Names the variable, its value and what it may be.
pub fn check_environment() -> Result<(), UnknownChoice> {
    Tuning::named()?;
    Product::named()?;
    Simd::named()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_others_are_told() {
        let choices = [("tiled", 1), ("burn", 2)];
        assert_eq!(choose("NAME", "burn", &choices), Ok(Some(2)));
        assert_eq!(choose("NAME", "", &choices), Ok(None));
        let error = choose("NAME", "Burn ", &choices).unwrap_err().to_string();
        assert!(
            error.starts_with("NAME is `Burn `, expected tiled or burn"),
            "{error}"
        );
    }
}

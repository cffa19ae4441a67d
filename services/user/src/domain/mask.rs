use prost_types::FieldMask;
use proto::user::v1::Profile;

use crate::error::Error;

/// Which fields of a profile are to be taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) display_name: bool,
    pub(crate) country: bool,
    pub(crate) locale: bool,
}

/// More paths than there are fields say nothing new.
const PATHS_MAX: usize = 16;

impl Mask {
    const ALL: Self = Self { display_name: true, country: true, locale: true };

    /// Without a mask, the fields that are not empty.
    pub(crate) fn read(mask: Option<&FieldMask>, profile: &Profile) -> Result<Self, Error> {
        let Some(mask) = mask else { return Ok(Self::not_empty(profile)) };
        if mask.paths.len() > PATHS_MAX {
            return Err(Error::TooManyPaths);
        }
        mask.paths.iter().try_fold(Self::default(), |mask, path| match path.as_str() {
            "*" => Ok(Self::ALL),
            "display_name" => Ok(Self { display_name: true, ..mask }),
            "country" => Ok(Self { country: true, ..mask }),
            "locale" => Ok(Self { locale: true, ..mask }),
            unknown => Err(Error::UnknownPath(unknown.to_owned())),
        })
    }

    const fn not_empty(profile: &Profile) -> Self {
        let Profile { display_name, country, locale, .. } = profile;
        Self { display_name: !display_name.is_empty(), country: !country.is_empty(), locale: !locale.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(paths: &[&str]) -> Result<Mask, Error> {
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        Mask::read(Some(&mask), &Profile::default())
    }

    #[test]
    fn a_mask_names_the_fields_to_take_over() {
        assert_eq!(read(&["country", "locale"]), Ok(Mask { display_name: false, ..Mask::ALL }));
        assert_eq!(read(&["country", "*"]), Ok(Mask::ALL));
        assert_eq!(read(&[]), Ok(Mask::default()));
    }

    #[test]
    fn without_a_mask_what_is_not_empty_is_taken_over() {
        let profile = Profile { country: "AT".to_owned(), ..Profile::default() };
        assert_eq!(Mask::read(None, &profile), Ok(Mask { country: true, ..Mask::default() }));
    }

    #[test]
    fn a_path_that_cannot_be_changed_is_refused() {
        for path in ["", "user_id", "etag", "profile.country", "display_name.x"] {
            assert_eq!(read(&["country", path]), Err(Error::UnknownPath(path.to_owned())));
        }
        assert_eq!(read(&["country"; 17]), Err(Error::TooManyPaths));
    }
}

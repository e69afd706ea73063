//! The kinds of sensitive information: Bedrock's 31 by their names, and what China adds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EntityKind {
            $($(#[$doc])* $variant,)*
        }

        impl EntityKind {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As configuration and assessments spell it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    Address = "ADDRESS",
    Age = "AGE",
    AwsAccessKey = "AWS_ACCESS_KEY",
    AwsSecretKey = "AWS_SECRET_KEY",
    CaHealthNumber = "CA_HEALTH_NUMBER",
    CaSocialInsuranceNumber = "CA_SOCIAL_INSURANCE_NUMBER",
    CardCvv = "CREDIT_DEBIT_CARD_CVV",
    CardExpiry = "CREDIT_DEBIT_CARD_EXPIRY",
    CardNumber = "CREDIT_DEBIT_CARD_NUMBER",
    DriverId = "DRIVER_ID",
    Email = "EMAIL",
    Iban = "INTERNATIONAL_BANK_ACCOUNT_NUMBER",
    IpAddress = "IP_ADDRESS",
    LicensePlate = "LICENSE_PLATE",
    MacAddress = "MAC_ADDRESS",
    Name = "NAME",
    Password = "PASSWORD",
    Phone = "PHONE",
    Pin = "PIN",
    SwiftCode = "SWIFT_CODE",
    UkHealthNumber = "UK_NATIONAL_HEALTH_SERVICE_NUMBER",
    UkInsuranceNumber = "UK_NATIONAL_INSURANCE_NUMBER",
    UkTaxpayerReference = "UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER",
    Url = "URL",
    Username = "USERNAME",
    UsBankAccount = "US_BANK_ACCOUNT_NUMBER",
    UsBankRouting = "US_BANK_ROUTING_NUMBER",
    UsTaxpayerId = "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER",
    UsPassport = "US_PASSPORT_NUMBER",
    UsSocialSecurity = "US_SOCIAL_SECURITY_NUMBER",
    VehicleId = "VEHICLE_IDENTIFICATION_NUMBER",
    /// The number of the resident identity card, GB 11643.
    CnIdCard = "CN_ID_CARD",
    /// Cards of UnionPay and the domestic cards of banks.
    CnBankCard = "CN_BANK_CARD",
    /// The unified social credit code of organisations, GB 32100.
    CnCreditCode = "CN_USCC",
    CnPassport = "CN_PASSPORT",
    /// Permits to travel between the mainland, Hong Kong, Macao and Taiwan.
    CnTravelPermit = "CN_HKM_PERMIT",
    /// A landline of the mainland; counts as `PHONE` where only that is asked for.
    Landline = "LANDLINE",
    WeChat = "WECHAT",
    Qq = "QQ",
}

impl EntityKind {
    /// Bedrock's own kinds come first.
    pub const NUM_BEDROCK: usize = 31;

    /// Whether Bedrock has this kind, by this name.
    pub fn is_bedrocks(self) -> bool {
        (self as usize) < Self::NUM_BEDROCK
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind that covers this one where nobody asks for it by its own name.
    pub fn broader(self) -> Option<Self> {
        match self {
            Self::Landline => Some(Self::Phone),
            Self::CnBankCard => Some(Self::CardNumber),
            _ => None,
        }
    }
}

impl Serialize for EntityKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EntityKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            de::Error::custom(format!("`{name}` is none of {}", names.join(", ")))
        })
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::guardrail) struct EntitySet(u64);

const _: () = assert!(EntityKind::ALL.len() <= u64::BITS as usize);
const _: () =
    assert!(EntityKind::ALL[EntityKind::NUM_BEDROCK] as usize == EntityKind::CnIdCard as usize);

impl EntitySet {
    pub(in crate::guardrail) fn insert(&mut self, kind: EntityKind) {
        self.0 |= 1 << kind as u32;
    }

    pub(in crate::guardrail) fn contains(self, kind: EntityKind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    pub(in crate::guardrail) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a find of this kind is reported as, if at all.
    pub(super) fn reported(self, kind: EntityKind) -> Option<EntityKind> {
        if self.contains(kind) {
            return Some(kind);
        }
        kind.broader().filter(|broader| self.contains(*broader))
    }
}

impl FromIterator<EntityKind> for EntitySet {
    fn from_iter<I: IntoIterator<Item = EntityKind>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

//! One robot: drives about its site, gets warm, runs low and docks. Just enough physics for plausible readings.

/// What a robot can report. Not every report has everything: some change every second, others hardly ever.
#[derive(Clone, Copy)]
pub enum Attribute {
    X,
    Y,
    Heading,
    Speed,
    BatteryCharge,
    BatteryVoltage,
    MotorTemperature,
    Payload,
    Obstacles,
    Docked,
    Mode,
    Firmware,
    Diagnosis,
}

impl Attribute {
    pub const ALL: [Attribute; 13] = [
        Attribute::X,
        Attribute::Y,
        Attribute::Heading,
        Attribute::Speed,
        Attribute::BatteryCharge,
        Attribute::BatteryVoltage,
        Attribute::MotorTemperature,
        Attribute::Payload,
        Attribute::Obstacles,
        Attribute::Docked,
        Attribute::Mode,
        Attribute::Firmware,
        Attribute::Diagnosis,
    ];

    /// Name, type, unit, and whether it belongs to the hot set.
    pub fn definition(self) -> (&'static str, &'static str, Option<&'static str>, bool) {
        match self {
            Attribute::X => ("x", "number", Some("m"), true),
            Attribute::Y => ("y", "number", Some("m"), true),
            Attribute::Heading => ("heading", "number", Some("°"), false),
            Attribute::Speed => ("speed", "number", Some("m/s"), true),
            Attribute::BatteryCharge => ("battery_charge", "number", Some("%"), true),
            Attribute::BatteryVoltage => ("battery_voltage", "number", Some("V"), false),
            Attribute::MotorTemperature => ("motor_temperature", "number", Some("°C"), false),
            Attribute::Payload => ("payload", "number", Some("kg"), false),
            Attribute::Obstacles => ("obstacles", "integer", None, false),
            Attribute::Docked => ("docked", "boolean", None, true),
            Attribute::Mode => ("mode", "text", None, true),
            Attribute::Firmware => ("firmware", "text", None, false),
            Attribute::Diagnosis => ("diagnosis", "json", None, false),
        }
    }
}

/// The one value of a reading. A boolean is an integer, 0 or 1; JSON is text.
pub enum Value {
    Number(f64),
    Integer(i64),
    Text(String),
}

pub struct Robot {
    pub entity: i64,
    x: f64,
    y: f64,
    heading: f64,
    speed: f64,
    charge: f64,
    temperature: f64,
    payload: f64,
    obstacles: i64,
    docked: bool,
    reports: u64,
    dice: Dice,
}

impl Robot {
    const TOP_SPEED: f64 = 2.5;
    const AMBIENT: f64 = 18.0;
    /// One report in so many carries a reading that can never be stored.
    const FAULTY_SENSOR: u64 = 2000;

    pub fn new(entity: i64) -> Robot {
        let mut dice = Dice::new(entity);
        Robot {
            entity,
            x: dice.between(0.0, 200.0),
            y: dice.between(0.0, 120.0),
            heading: dice.between(0.0, 360.0),
            speed: 0.0,
            charge: dice.between(10.0, 100.0),
            temperature: Robot::AMBIENT,
            payload: 0.0,
            obstacles: 0,
            docked: false,
            // Not all report what is rare in the same second.
            reports: dice.below(60),
            dice,
        }
    }

    /// One second passes.
    pub fn step(&mut self) {
        self.reports += 1;
        if self.docked {
            self.speed = 0.0;
            self.charge = (self.charge + 2.0).min(100.0);
            self.docked = self.charge < 95.0;
        } else {
            self.heading = (self.heading + self.dice.between(-20.0, 20.0)).rem_euclid(360.0);
            self.speed = (self.speed + self.dice.between(-0.4, 0.5)).clamp(0.0, Robot::TOP_SPEED);
            let (sin, cos) = self.heading.to_radians().sin_cos();
            self.x += self.speed * cos;
            self.y += self.speed * sin;
            self.charge -= 0.05 + 0.1 * self.speed;
            self.docked = self.charge < 8.0;
            if self.dice.one_in(20) {
                self.payload = self.dice.between(0.0, 40.0);
            }
            if self.dice.one_in(10) {
                self.obstacles += 1;
            }
        }
        let warm = Robot::AMBIENT + 16.0 * self.speed + 0.3 * self.payload;
        self.temperature += 0.1 * (warm - self.temperature);
    }

    pub fn report(&mut self, mut send: impl FnMut(Attribute, Value)) {
        send(Attribute::X, number(self.x));
        send(Attribute::Y, number(self.y));
        send(Attribute::Heading, number(self.heading));
        send(Attribute::Speed, number(self.speed));
        send(Attribute::BatteryCharge, number(self.charge));
        if self.reports.is_multiple_of(5) {
            send(Attribute::BatteryVoltage, number(21.0 + 0.05 * self.charge));
            send(Attribute::MotorTemperature, number(self.temperature));
            send(Attribute::Payload, number(self.payload));
            send(Attribute::Obstacles, Value::Integer(self.obstacles));
        }
        if self.reports.is_multiple_of(10) {
            send(Attribute::Docked, Value::Integer(self.docked.into()));
            send(Attribute::Mode, Value::Text(self.mode().into()));
        }
        if self.reports.is_multiple_of(60) {
            send(Attribute::Firmware, Value::Text("4.2.1".into()));
        }
        if self.dice.one_in(500) {
            let code = self.dice.below(90) + 10;
            send(
                Attribute::Diagnosis,
                Value::Text(format!(r#"{{"code": {code}, "severity": "warning"}}"#)),
            );
        }
        if self.dice.one_in(Robot::FAULTY_SENSOR) {
            send(Attribute::MotorTemperature, Value::Text("sensor fault".into()));
        }
    }

    fn mode(&self) -> &'static str {
        match (self.docked, self.payload) {
            (true, _) => "charging",
            (false, kilograms) if kilograms > 0.0 => "carrying",
            (false, _) => "cruising",
        }
    }
}

/// As a sensor with three digits would send it.
fn number(value: f64) -> Value {
    Value::Number((value * 1000.0).round() / 1000.0)
}

/// Randomness that is the same in every demo (splitmix64).
struct Dice(u64);

impl Dice {
    fn new(seed: i64) -> Dice {
        Dice(seed.unsigned_abs())
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        low + unit * (high - low)
    }
}

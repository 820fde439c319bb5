"""Authentication and encryption of Kafka clients: PLAINTEXT, SSL, SASL, or both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.core.errors import UsageError
from streams.core.settings import Settings, TlsFiles, secret_file

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    protocol: str = "PLAINTEXT"
    mechanism: str = MECHANISMS[0]
    user: str = ""
    password: str = field(default="", repr=False)
    tls: TlsFiles = field(default_factory=lambda: TlsFiles(variables="DIA_KAFKA"))

    @classmethod
    def from_settings(cls, settings: Settings) -> KafkaSecurity:
        """`UsageError` names the variable. Refuses a user or certificate that the protocol does not
        send: the operator would expect protection that is absent."""
        security = cls(
            protocol=settings.kafka_security_protocol,
            mechanism=settings.kafka_sasl_mechanism,
            user=settings.kafka_sasl_user,
            password=secret_file.read(
                "DIA_KAFKA_SASL_PASSWORD_FILE", settings.kafka_sasl_password_file
            ),
            tls=TlsFiles(
                variables="DIA_KAFKA",
                ca=settings.kafka_ca_file,
                certificate=settings.kafka_cert_file,
                key=settings.kafka_key_file,
            ),
        )
        security.check()
        return security

    @property
    def encrypted(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def authenticated(self) -> bool:
        """Whether the protocol sends user and password."""
        return self.protocol.startswith("SASL")

    def check(self) -> None:
        """Raises `UsageError` for unknown values and for combinations that do not fit."""
        _one_of("DIA_KAFKA_SECURITY_PROTOCOL", self.protocol, PROTOCOLS)
        _one_of("DIA_KAFKA_SASL_MECHANISM", self.mechanism, MECHANISMS)
        if self.authenticated and not (self.user and self.password):
            raise UsageError(
                f"DIA_KAFKA_SECURITY_PROTOCOL={self.protocol} needs a user and a password. "
                "Set DIA_KAFKA_SASL_USER and DIA_KAFKA_SASL_PASSWORD_FILE."
            )
        if not self.authenticated and (self.user or self.password):
            raise UsageError(
                f"DIA_KAFKA_SASL_USER is set, but DIA_KAFKA_SECURITY_PROTOCOL={self.protocol} "
                "sends no user. Set it to SASL_SSL, or unset the user and password file."
            )
        tls = self.tls
        if not self.encrypted and (tls.ca or tls.certificate or tls.key):
            raise UsageError(
                f"certificates are named, but DIA_KAFKA_SECURITY_PROTOCOL={self.protocol} "
                "encrypts nothing. Set it to SSL or SASL_SSL, or unset DIA_KAFKA_CA_FILE, "
                "DIA_KAFKA_CERT_FILE and DIA_KAFKA_KEY_FILE."
            )
        tls.check()

    def client_options(self) -> dict[str, Any]:
        """Of every aiokafka client. Raises `UsageError` for an unusable certificate."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.encrypted:
            options["ssl_context"] = self.tls.context()
        if self.authenticated:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.user
            options["sasl_plain_password"] = self.password
        return options


def _one_of(variable: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{variable}={value} is not one of {', '.join(known)}.")

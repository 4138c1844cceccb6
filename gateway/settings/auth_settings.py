"""Settings of authentication: the gateway's own tokens, tokens of an external issuer, and rate limits on sign-in."""

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.value_types import JWKSURL, Rate, RateLimitStoreURL, SigningSecret


class AuthSettings(BaseModel):
    jwt_secret: SigningSecret | None = Field(
        None,
        description="Secret that signs bearer tokens (HS256), at least 32 characters. Required with PostgreSQL. With "
        "SQLite, a missing secret is generated and stored in the file `jwt_secret` beside the database file.",
    )
    jwt_audience: str = Field("siso-gateway", min_length=1, description="Audience that tokens must have.")
    token_lifetime: int = Field(12 * 3600, ge=1, description="Seconds that a token from `siso token` is valid.")
    access_token_lifetime: int = Field(
        900,
        ge=1,
        description="Seconds that an access token is valid, unless the account or the session ends before.",
    )
    refresh_token_lifetime: int = Field(
        30 * 24 * 3600, ge=1, description="Seconds that a session lasts after it was last refreshed."
    )

    issuer_secret: SigningSecret | None = Field(
        None,
        description="Secret with which an external issuer signs tokens (HS256), such as Supabase's legacy JWT "
        "secret. It must have at least 32 characters.",
    )
    issuer_jwks_url: JWKSURL | None = Field(
        None,
        description="URL at which an external issuer publishes its keys (ES256, RS256). It must use https, except on "
        "this machine.",
    )
    issuer_audience: str = Field(
        "authenticated", min_length=1, description="Audience that tokens of the external issuer must have."
    )
    jwks_interval: float = Field(
        300.0,
        gt=0,
        description="Seconds after which the external issuer's keys are fetched again, in the background. A token with "
        "an unknown key causes a fetch at once.",
    )
    issuer_url: str | None = Field(
        None,
        validate_default=True,
        description="The `iss` claim of an external issuer whose users may sign in, such as "
        "`https://project.supabase.co/auth/v1`. Needs `GATEWAY_ISSUER_SECRET` or `GATEWAY_ISSUER_JWKS_URL`.",
    )

    rate_limit_store: RateLimitStoreURL = Field(
        SecretStr("async+memory://"),
        description="Where attempts and costs are counted: in the memory of each process, or for all processes in a "
        "store of the library `limits`, such as `async+redis://host:6379`.",
    )
    password_attempts_per_client: Rate = Field(
        "10 per 15 minutes",
        description="Maximum rate of password attempts for one account from one IP address, from one known device, or "
        "in one session. Of IPv6 addresses, the /64 network counts, here and in the settings below.",
    )
    password_attempts_per_account: Rate = Field(
        "100 per hour",
        description="Maximum rate of password attempts for one e-mail address, known or unknown, from all IP addresses "
        "together. Known devices are not counted.",
    )
    sign_ins_per_address: Rate = Field(
        "100 per 15 minutes",
        description="Maximum rate of attempts to sign in, or to use a token from an e-mail, from one IP address.",
    )
    sign_ups_per_address: Rate = Field(
        "20 per hour", description="Maximum rate of attempts to create an account from one IP address."
    )
    refreshes_per_address: Rate = Field(
        "1000 per hour", description="Maximum rate of attempts to refresh a session from one IP address."
    )

    account_lookups_per_user: Rate = Field(
        "100 per hour",
        description="Maximum rate at which a user can look up other users by their e-mail addresses (`assignTask`).",
    )

    @field_validator("issuer_url")
    @classmethod
    def _check_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        has_keys = bool(info.data.get("issuer_secret") or info.data.get("issuer_jwks_url"))
        if has_keys != (value is not None):
            message = "must be set together with GATEWAY_ISSUER_SECRET or GATEWAY_ISSUER_JWKS_URL"
            raise ValueError(message)
        return value

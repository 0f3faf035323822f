"""A token for each agent, enrolled, rotated and revoked while the router runs."""

from collections.abc import Sequence
from contextlib import suppress

from prouter import hookspecs, implements
from prouter.errors import AgentAway, AgentNotFound
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.agents import AgentInfo, Hello
from prouter.model.contributions import CliCommand
from prouter.model.http import Reply
from prouter.model.ids import AgentUid
from prouter.model.plugin import Call, ConfigSection, Route
from prouter.model.services import Router
from prouter_sqlite_tokens.command import configure, run
from prouter_sqlite_tokens.store import Store

NAME, WRITE, ALL, ONE = "sqlite_tokens", "agent_tokens.write", "/agent-tokens", "/agent-tokens/{name}"
LIFE = {"type": "number", "minimum": 1, "default": 900, "description": "Seconds for which an enrolment's code is good."}
FADE = {"type": "number", "minimum": 1, "default": 3600, "description": "Seconds for which a rotated token is good."}
AGENT = {"properties": {"agent": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}}, "required": ["agent"]}
CODE = {"properties": {"code": {"type": "string"}}, "required": ["code"]}


class SqliteTokens:
    """An authenticator of agents, with routes and a command of its own."""

    def __init__(self) -> None:
        self._store = Store()
        self._let_in: set[str] = set()
        """Uids on their way from the check of their token to their place among the agents."""

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, {"code_lifetime": LIFE, "overlap": FADE})]

    @implements(hookspecs.prouter_commands)
    def prouter_commands(self) -> Sequence[CliCommand]:
        return [CliCommand("agent-tokens", "enrol agents, rotate and revoke their tokens", run, configure)]

    @implements(hookspecs.prouter_startup)
    async def prouter_startup(self, router: Router) -> None:
        self._agents, self._settings = router.agents, router.config.section(NAME)
        router.state_directory.mkdir(parents=True, exist_ok=True)
        await self._store.open(str(router.state_directory / "tokens.db"))

    @implements(hookspecs.prouter_shutdown)
    async def prouter_shutdown(self) -> None:
        await self._store.connection.close()

    @implements(hookspecs.prouter_guards)
    def prouter_guards(self) -> Guards:
        return Guards(agents=True)

    @implements(hookspecs.prouter_authenticate_agent)
    async def prouter_authenticate_agent(self, hello: Hello, peer: Peer) -> Principal | Refusal | None:
        name, uid = await self._store.whose(hello.token, hello.uid) or ("", hello.uid)
        if uid != hello.uid:
            return Refusal(f"this token is that of agent {name!r}, which has another uid")
        if not name:
            return None
        self._let_in.add(uid)
        return Principal(name, NAME)

    @implements(hookspecs.prouter_agent_connected)
    async def prouter_agent_connected(self, agent: AgentInfo) -> None:
        if agent.uid in self._let_in and not await self._store.do("SELECT 1 FROM secrets WHERE uid = ?", agent.uid):
            await self._agents.disconnect(agent.uid, "its token was revoked on the way")
        self._let_in.discard(agent.uid)

    @implements(hookspecs.prouter_routes)
    def prouter_routes(self) -> Sequence[Route]:
        return [
            Route(("GET",), ALL, "agent_tokens.read", "Agents that are enrolled.", self._list),
            Route(("POST",), ALL, WRITE, "Enrol an agent: its code.", self._enrol, schema=AGENT),
            Route(("POST",), f"{ALL}/redeem", WRITE, "A token for a code.", self._redeem, schema=CODE, public=True),
            Route(("POST",), f"{ONE}/rotate", WRITE, "A new token; the old one fades.", self._rotate),
            Route(("DELETE",), ONE, WRITE, "No token is good any more; the agent is cut off.", self._revoke),
        ]

    async def _list(self, call: Call) -> Reply:
        return Reply.json({"agents": await self._store.agents()})

    async def _enrol(self, call: Call) -> Reply:
        return Reply.json({"code": await self._store.enrol(call.body["agent"], self._settings["code_lifetime"])})

    async def _redeem(self, call: Call) -> Reply:
        return Reply.json({"token": await self._store.redeem(call.body["code"])})

    async def _rotate(self, call: Call) -> Reply:
        return Reply.json({"token": await self._store.rotate(call.params["name"], self._settings["overlap"])})

    async def _revoke(self, call: Call) -> Reply:
        uid = AgentUid(await self._store.revoke(call.params["name"]) or "")
        with suppress(AgentNotFound, AgentAway):  # not here, and its token lets it in no more
            await self._agents.disconnect(uid, "its token was revoked")
        return Reply.json({"revoked": call.params["name"]})
